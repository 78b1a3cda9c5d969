"""The Monge gap and the Sinkhorn divergence: values, gradients, warm starts, bad input."""

from __future__ import annotations

import copy
import itertools
import math
import multiprocessing
import pickle
import time
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import COSTS, clouds, exact_assignment, pairwise, reference, spec
from scipy import special

import ot_fast as otf

costs = pytest.mark.parametrize("cost", COSTS)


def pair(n, d, seed=0, dtype="float64"):
    """Points, and images that no symmetry relates to them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x.astype(dtype), (1.2 * rng.normal(size=(n, d)) + 0.5).astype(dtype)


def slope(f, x, direction, h=1e-5):
    """The derivative of f along a direction by central differences."""
    return (f(x + h * direction) - f(x - h * direction)) / (2 * h)


def softmin_solve(a, b, C, reg, rho=math.inf):
    """f, g by plain (damped) log-domain Sinkhorn in NumPy."""
    damp = 1.0 if math.isinf(rho) else rho / (rho + reg)
    f, g = np.zeros(len(a)), np.zeros(len(b))
    for _ in range(20_000):
        f = -damp * reg * special.logsumexp((g - C) / reg, b=b, axis=1)
        new = -damp * reg * special.logsumexp((f[:, None] - C) / reg, b=a[:, None], axis=0)
        done = abs(new - g).max() < 1e-14
        g = new
        if done:
            break
    return f, g


def relaxed_cost(a, b, C, reg, rho):
    """<C,P> + reg KL(P | ab) + rho KL(P1 | a) + rho KL(P'1 | b), from the plan."""
    f, g = reference(a, b, C, reg)[:2] if math.isinf(rho) else softmin_solve(a, b, C, reg, rho)
    f, g = f.astype(float), g.astype(float)
    P = np.outer(a, b) * np.exp((f[:, None] + g - C) / reg)

    def kl(p, q):
        return float(special.rel_entr(p, q).sum() - p.sum() + q.sum())

    out = (P * C).sum() + reg * kl(P, np.outer(a, b))
    return out if math.isinf(rho) else out + rho * (kl(P.sum(1), a) + kl(P.sum(0), b))


# ---- Monge gap --------------------------------------------------------------------------------


@costs
def test_gap_by_definition(cost):
    x, y = pair(11, 3)
    C, reg = pairwise(x, y, cost), 0.2
    w = np.full(11, 1 / 11)
    _, _, P = reference(w, w, C, reg)
    P = P.astype(float)
    transport = (P * C).sum() + reg * (P * np.log(P)).sum()
    gap = otf.monge_gap(x, y, reg=reg, tol=1e-12, **spec(cost))
    assert gap.value == pytest.approx(np.diag(C).mean() - transport, abs=1e-11)
    assert gap.displacement == pytest.approx(np.diag(C).mean(), rel=1e-12)
    assert gap.transport == pytest.approx(transport, abs=1e-11)
    assert gap.converged
    assert float(gap) == gap.value


# OTT-JAX 0.6.0, `monge_gap_from_samples` and `sinkdiv` at threshold 1e-12.
OTT_GAPS = {
    "sqeuclidean": 7.876061872938616,
    "euclidean": 2.5052110102010845,
    "cityblock": 3.1618923080640435,
    "cosine": 2.041156064429892,
    "power": 4.281543251426095,
}


@costs
def test_values_of_ott_jax(cost):
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) * 1.2 + 0.5
    gap = otf.monge_gap(x, y, reg=0.2, tol=1e-11, **spec(cost))
    assert gap.value == pytest.approx(OTT_GAPS[cost], abs=1e-8)  # its cosine has a 1e-8 in it
    if cost == "sqeuclidean":
        a, b = rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(40))
        d = otf.sinkhorn_divergence(x, y, a, b, reg=0.2, tol=1e-11)
        assert d.value == pytest.approx(2.291264023598889, abs=1e-9)


@costs
@pytest.mark.parametrize("d", [1, 2, 5, 9])
@pytest.mark.parametrize("debias", [False, True])
def test_gradient_of_the_gap(cost, d, debias):
    n = 23
    x, y = pair(n, d, seed=d)
    options = {"reg": 0.3, "tol": 1e-12, "debias": debias, **spec(cost)}
    if cost == "cosine" and d == 1:  # constant on each half line
        assert abs(otf.monge_gap(x, y, **options).gradient).max() < 1e-12
        return
    rng = np.random.default_rng(d)
    u, v = rng.normal(size=(2, n, d))
    # Differences of |x - y| must not cross a kink.
    h, tol = (1e-7, 1e-5) if cost == "cityblock" else (1e-5, 1e-6)
    gap = otf.monge_gap(x, y, **options)
    in_y = slope(lambda z: otf.monge_gap(x, z, **options).value, y, v, h)
    in_x = slope(lambda z: otf.monge_gap(z, y, **options).value, x, u, h)
    assert (gap.gradient * v).sum() == pytest.approx(in_y, rel=tol, abs=tol / 10)
    assert (gap.gradient_x * u).sum() == pytest.approx(in_x, rel=tol, abs=tol / 10)


@costs
def test_coincident_points_have_a_finite_gradient(cost):
    x, _ = pair(9, 2)
    for debias in (False, True):
        gap = otf.monge_gap(x, x, reg=0.1, debias=debias, **spec(cost))
        assert np.isfinite(gap.gradient).all()
        assert math.isfinite(gap.value)


@costs
@pytest.mark.parametrize("reg", [1e-3, 0.1, 10.0])
def test_gap_is_never_negative(cost, reg):
    for seed in range(4):
        x, y = pair(30, 2, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", otf.ConvergenceWarning)
            for images in (y, x + 1, x[::-1]):
                gap = otf.monge_gap(x, images, reg=reg, **spec(cost))
                assert gap.value >= -1e-9 * pairwise(x, images, cost).max()


def test_gap_of_a_convex_gradient_vanishes_and_of_a_permutation_does_not():
    x, _ = pair(60, 2)
    A = np.array([[2.0, 0.5], [0.5, 1.0]])
    images = x @ A + np.tanh(x)  # the gradient of a convex function
    scale = pairwise(x, images, "sqeuclidean").mean()
    reg = 1e-5 * scale
    entropy = reg * math.log(60)  # of the plan: what the gap is where T is optimal
    best = otf.monge_gap(x, images, reg=reg, tol=1e-5)
    assert best.value == pytest.approx(entropy, abs=1e-6 * scale)
    swapped = otf.monge_gap(x, images[::-1], reg=reg, tol=1e-5)
    C = pairwise(x, images[::-1], "sqeuclidean")
    assert swapped.value == pytest.approx(np.diag(C).mean() - exact_assignment(C), abs=1e-3 * scale)
    assert swapped.value > 0.1 * scale


def test_gap_does_not_see_how_points_are_numbered():
    x, y = pair(40, 3)
    order = np.random.default_rng(1).permutation(40)
    one, other = (
        otf.monge_gap(u, v, reg=0.2, tol=1e-11) for u, v in ((x, y), (x[order], y[order]))
    )
    assert one.value == pytest.approx(other.value, rel=1e-10)
    np.testing.assert_allclose(one.gradient[order], other.gradient, atol=1e-9)


@given(st.integers(-60, 60))
def test_scale_laws(exponent):
    x, y = pair(12, 2)
    s = 2.0**exponent
    one, other = (otf.monge_gap(k * x, k * y, reg=0.2 * k * k, tol=1e-10) for k in (1.0, s))
    assert other.value == pytest.approx(s * s * one.value, rel=1e-12)
    np.testing.assert_allclose(other.gradient, s * one.gradient, rtol=1e-9, atol=1e-12 * s)


@pytest.mark.parametrize("n", [1, 2])
def test_few_points(n):
    x, y = pair(n, 3)
    gap = otf.monge_gap(x, y, reg=0.1, tol=1e-12)
    if n == 1:
        assert gap.value == pytest.approx(0, abs=1e-12)
        np.testing.assert_allclose(gap.gradient, 0, atol=1e-12)
    assert gap.gradient.shape == (n, 3)


def test_single_precision_stays_single():
    x, y = pair(40, 3, dtype="float32")
    gap = otf.monge_gap(x, y, reg=0.3)
    wide = otf.monge_gap(x.astype(float), y.astype(float), reg=0.3, tol=1e-9)
    assert gap.gradient.dtype == np.float32
    assert gap.value == pytest.approx(wide.value, rel=1e-5)
    np.testing.assert_allclose(gap.gradient, wide.gradient, atol=1e-5)


def test_default_regularisation_is_relative():
    x, y = pair(30, 2)
    assert otf.monge_gap(x, y).reg == pytest.approx(0.05 * pairwise(x, y, "sqeuclidean").mean())


def test_large_clouds_take_the_route_without_a_kernel(monkeypatch):
    from ot_fast import _losses

    x, y = pair(120, 9)
    stored = otf.monge_gap(x, y, reg=0.5, tol=1e-9)
    for name in ("FLOAT64_KERNEL", "FLOAT32_KERNEL", "STORED_COST"):
        monkeypatch.setattr(_losses, name, 0)
        other = otf.monge_gap(x, y, reg=0.5, tol=1e-9)
        assert other.value == pytest.approx(stored.value, rel=1e-9)
        np.testing.assert_allclose(other.gradient, stored.gradient, atol=1e-7)


# ---- Sinkhorn divergence ----------------------------------------------------------------------


@costs
@pytest.mark.parametrize("rho", [None, 0.7, 30.0])
def test_divergence_by_definition(cost, rho):
    x, y = clouds(12, 11, 3)
    rng = np.random.default_rng(2)
    a, b = rng.dirichlet(np.ones(12)), rng.dirichlet(np.ones(11))
    if rho is not None:
        a, b = 1.3 * a, 0.8 * b
    reg, relax = 0.4, math.inf if rho is None else rho

    def W(u, v, p, q):
        return relaxed_cost(p, q, pairwise(u, v, cost), reg, relax)

    expected = W(x, y, a, b) - (W(x, x, a, a) + W(y, y, b, b)) / 2
    if rho is not None:
        expected += reg / 2 * (a.sum() - b.sum()) ** 2
    d = otf.sinkhorn_divergence(x, y, a, b, reg=reg, unbalanced=rho, tol=1e-12, **spec(cost))
    assert d.value == pytest.approx(expected, abs=1e-9)
    assert d.transport == pytest.approx(W(x, y, a, b), abs=1e-9)
    assert d.converged


@costs
@pytest.mark.parametrize("rho", [None, 0.7])
def test_gradients_of_the_divergence(cost, rho):
    x, y = clouds(13, 11, 3, seed=5)
    rng = np.random.default_rng(5)
    a, b = rng.dirichlet(np.ones(13)), rng.dirichlet(np.ones(11))
    options = {"reg": 0.4, "unbalanced": rho, "tol": 1e-12, **spec(cost)}

    def S(u=x, v=y, p=a, q=b):
        return otf.sinkhorn_divergence(u, v, p, q, **options)

    d = S()
    if cost != "cityblock":  # whose kinks differences may cross
        u, v = rng.normal(size=x.shape), rng.normal(size=y.shape)
        assert (d.gradient[0] * u).sum() == pytest.approx(
            slope(lambda z: S(u=z).value, x, u), rel=1e-6, abs=1e-9
        )
        assert (d.gradient[1] * v).sum() == pytest.approx(
            slope(lambda z: S(v=z).value, y, v), rel=1e-6, abs=1e-9
        )
    p, q = rng.normal(size=13), rng.normal(size=11)
    if rho is None:
        p, q = p - p.mean(), q - q.mean()
    h = 1e-3 * min(a.min(), b.min())
    assert d.gradient_a @ p == pytest.approx(slope(lambda z: S(p=z).value, a, p, h), rel=1e-5)
    assert d.gradient_b @ q == pytest.approx(slope(lambda z: S(q=z).value, b, q, h), rel=1e-5)


@costs
def test_divergence_of_a_cloud_from_itself_is_zero(cost):
    x, _ = clouds(40, 3, 2)
    order = np.random.default_rng(0).permutation(40)
    d = otf.sinkhorn_divergence(x, x[order], reg=0.05, tol=1e-9, **spec(cost))
    assert abs(d.value) < 1e-8
    np.testing.assert_allclose(d.gradient_x, 0, atol=1e-6)


def test_divergence_of_shifted_clouds_is_the_shift():
    x, _ = clouds(50, 3, 4)
    shift = np.array([3.0, 0.0, -1.0, 2.0])
    d = otf.sinkhorn_divergence(x, x + shift, reg=0.7, tol=1e-10)
    assert d.value == pytest.approx(shift @ shift, rel=1e-8)
    np.testing.assert_allclose(d.gradient_y, np.tile(2 * shift / 50, (50, 1)), atol=1e-7)


def test_divergence_of_gaussians():
    from problems import gaussian_on_grid, gaussian_ot

    A, B, reg = np.array([[0.5, 0.2], [0.2, 0.4]]), np.array([[0.3, -0.1], [-0.1, 0.6]]), 0.5
    x, a = gaussian_on_grid([0, 0], A, 0.24)
    y, b = gaussian_on_grid([1, -0.5], B, 0.24)
    expected = gaussian_ot([0, 0], A, [1, -0.5], B, reg)[0]
    expected -= gaussian_ot([0, 0], A, [0, 0], A, reg)[0] / 2
    expected -= gaussian_ot([0, 0], B, [0, 0], B, reg)[0] / 2
    d = otf.sinkhorn_divergence(x, y, a, b, reg=reg, tol=1e-9)
    assert d.value == pytest.approx(expected, abs=1e-6)


def test_mass_scales_the_divergence():
    x, y = clouds(20, 30, 2)
    rng = np.random.default_rng(3)
    a, b = rng.dirichlet(np.ones(20)), rng.dirichlet(np.ones(30))
    one, four = (otf.sinkhorn_divergence(x, y, k * a, k * b, reg=0.3, tol=1e-11) for k in (1, 4))
    assert four.value == pytest.approx(4 * one.value, rel=1e-12)
    np.testing.assert_allclose(four.gradient_x, 4 * one.gradient_x, rtol=1e-12)
    np.testing.assert_allclose(four.gradient_b, one.gradient_b, rtol=1e-12)


def test_zero_weights_take_no_part_but_have_a_gradient():
    x, y = clouds(15, 16, 2)
    x[3], y[5] = (
        x[4] + 0.1,
        y[6] + 0.1,
    )  # far from all others, the limit would come with log(weight)
    rng = np.random.default_rng(4)
    a, b = rng.dirichlet(np.ones(15)), rng.dirichlet(np.ones(16))
    a[3] = b[5] = 0
    a, b = a / a.sum(), b / b.sum()
    keep, held = np.arange(15) != 3, np.arange(16) != 5
    whole = otf.sinkhorn_divergence(x, y, a, b, reg=0.3, tol=1e-12)
    less = otf.sinkhorn_divergence(x[keep], y[held], a[keep], b[held], reg=0.3, tol=1e-12)
    assert whole.value == pytest.approx(less.value, abs=1e-10)
    np.testing.assert_allclose(whole.gradient_x[keep], less.gradient_x, atol=1e-10)
    assert not whole.gradient_x[3].any()
    h = 1e-6
    p = np.where(keep, -a, 0.0)
    p[3] = 1.0
    moved = otf.sinkhorn_divergence(x, y, a + h * p, b, reg=0.3, tol=1e-12).value
    assert whole.gradient_a @ p == pytest.approx((moved - whole.value) / h, rel=1e-3)
    q = np.where(held, -b, 0.0)
    q[5] = 1.0
    moved = otf.sinkhorn_divergence(x, y, a, b + h * q, reg=0.3, tol=1e-12).value
    assert whole.gradient_b @ q == pytest.approx((moved - whole.value) / h, rel=1e-3)


# ---- warm starts ------------------------------------------------------------------------------


@pytest.mark.parametrize("moving", ["images", "batch"])
def test_warm_starts_give_the_same_answer_in_fewer_passes(moving):
    warm, rng = otf.WarmStart(), np.random.default_rng(0)
    pool = rng.normal(size=(500, 2))
    x = pool[:150]
    cold = 0
    for step in range(8):
        if moving == "batch":
            x = pool[rng.choice(500, 150, replace=False)]
        images = (2 + 0.01 * step) * x @ np.array([[1, 0.3], [-0.3, 1]])
        got = otf.monge_gap(x, images, reg=0.05, tol=1e-9, init=warm)
        expected = otf.monge_gap(x, images, reg=0.05, tol=1e-9)
        cold += expected.n_iter
        assert got.value == pytest.approx(expected.value, abs=1e-8)
        np.testing.assert_allclose(got.gradient, expected.gradient, atol=1e-7)
    assert warm.solves == 8
    if moving == "images":
        assert warm.passes < cold
        assert warm.saved > 0
    assert str(warm.saved) in repr(warm)
    warm.reset_counts()
    assert (warm.solves, warm.passes, warm.saved) == (0, 0, 0)


def test_what_has_not_changed_is_not_solved_again():
    x, y = clouds(40, 50, 2)
    warm = otf.WarmStart()
    one = otf.sinkhorn_divergence(x, y, reg=0.2, init=warm)
    passes = warm.passes
    other = otf.sinkhorn_divergence(x, y, reg=0.2, init=warm)
    assert warm.passes == passes
    assert other.value == one.value
    otf.sinkhorn_divergence(x + 0.01, y, reg=0.2, init=warm)
    assert warm.solves == 5  # the term of y alone is kept
    # and what has changed is solved: another reg, tol, cost, dimension or size
    for change in ({"reg": 0.3}, {"tol": 1e-9}, {"cost": "cityblock"}, {"unbalanced": 1.0}):
        options = {"reg": 0.2, **change}
        got = otf.sinkhorn_divergence(x, y, init=warm, **options)
        assert got.value == pytest.approx(otf.sinkhorn_divergence(x, y, **options).value, abs=1e-5)
    for u, v in ((x[:, :1], y[:, :1]), (x[:7], y[:9])):
        got = otf.sinkhorn_divergence(u, v, reg=0.2, init=warm)
        assert got.value == pytest.approx(otf.sinkhorn_divergence(u, v, reg=0.2).value, abs=1e-6)


def test_a_result_or_potentials_start_the_next_call():
    x, y = pair(100, 2)
    first = otf.monge_gap(x, y, reg=0.05)
    for init in (first, first.potentials):
        again = otf.monge_gap(x, y + 1e-3, reg=0.05, init=init)
        assert again.n_iter < first.n_iter
    d = otf.sinkhorn_divergence(x, y, reg=0.05)
    for init in (d, d.potentials):
        assert otf.sinkhorn_divergence(x, y + 1e-3, reg=0.05, init=init).n_iter < d.n_iter


def test_a_term_solved_to_another_tol_is_judged_by_the_tol_asked_for():
    x, y = pair(50, 2)
    warm = otf.WarmStart()
    hard = {"reg": 1e-3, "tol": 1e-12, "max_iter": 20, "on_fail": "ignore"}
    first = otf.monge_gap(x, y, init=warm, **hard)
    assert not first.converged
    tol = 2 * first.marginal_error
    again = otf.monge_gap(x, y, init=warm, reg=1e-3, tol=tol)
    assert warm.solves == 1
    assert again.converged
    assert again.tol == tol


# ---- options that all solvers share -----------------------------------------------------------

LOSSES = {
    "sinkhorn_divergence": (otf.sinkhorn_divergence, ["xy", "xx", "yy"]),
    "monge_gap": (lambda *z, **o: otf.monge_gap(*z, debias=True, **o), ["gap", "gap Tx", "gap x"]),
}
losses = pytest.mark.parametrize(("loss", "terms"), LOSSES.values(), ids=LOSSES)


@losses
@pytest.mark.parametrize("cost", COSTS)
def test_a_point_cloud_gives_points_and_cost(loss, terms, cost):
    x, y = pair(30, 3)
    cloud = otf.PointCloud(x, y, **spec(cost))
    want = loss(x, y, reg=0.2, **spec(cost))
    for _ in range(2):  # the cloud is used again as it is
        got = loss(cloud, reg=0.2)
        assert got.value == want.value
        np.testing.assert_array_equal(got.gradient_x, want.gradient_x)
    assert "_made" in vars(cloud if loss is otf.sinkhorn_divergence else cloud.turned)
    for extra in ({"cost": "euclidean"}, {"p": 2.0}, {"cost": "power", "p": 1.5}):
        with pytest.raises(TypeError, match=r"x is a PointCloud, which has (y|Tx), cost and p"):
            loss(cloud, reg=0.2, **extra)
    with pytest.raises(TypeError, match="x is a PointCloud"):
        loss(cloud, y, reg=0.2)
    with pytest.raises(TypeError, match=r"(y|Tx) must be a real array; got None"):
        loss(x, reg=0.2)
    with pytest.raises(ValueError, match="the largest coordinate of x and y"):
        loss(otf.PointCloud(1e151 * x, y, "euclidean"), reg=0.2)


def test_a_point_cloud_with_weights():
    x, y = clouds(30, 20, 2)
    a, b = (np.random.default_rng(1).dirichlet(np.ones(k)) for k in (30, 20))
    cloud = otf.PointCloud(x, y, "euclidean")
    want = otf.sinkhorn_divergence(x, y, a, b, reg=0.2, cost="euclidean")
    for got in (
        otf.sinkhorn_divergence(cloud, None, a, b, reg=0.2),
        otf.sinkhorn_divergence(cloud, a=a, b=b, reg=0.2),
    ):
        assert got.value == want.value


@losses
def test_the_callback_sees_every_pass_of_every_term(loss, terms):
    x, y = pair(40, 2)
    seen = []
    r = loss(x, y, reg=0.05, callback=seen.append)
    assert [term for term, _ in itertools.groupby(v["term"] for v in seen)] == terms
    assert set(seen[0]) == {"n_iter", "reg", "error", "dual_value", "elapsed", "term"}
    last = {v["term"]: v for v in seen}
    assert sum(v["n_iter"] for v in last.values()) == r.n_iter
    assert max(v["error"] for v in last.values()) == r.marginal_error

    class Stop(Exception):
        pass

    def stop(record):
        if record["term"] == terms[1]:
            raise Stop

    with pytest.raises(Stop):
        loss(x, y, reg=0.05, callback=stop)
    assert loss(x, y, reg=0.05).value == r.value
    with pytest.raises(TypeError, match="callback must be callable"):
        loss(x, y, reg=0.05, callback=3)


@losses
def test_the_time_limit_is_that_of_all_terms(loss, terms):
    x, y = pair(40, 2)
    hard = {"reg": 1e-4, "tol": 1e-15, "on_fail": "ignore", "max_iter": 10**6}

    def slow(record):
        time.sleep(0.02)

    start = time.monotonic()
    r = loss(x, y, time_limit=0.2, callback=slow, **hard)
    assert time.monotonic() - start < 2
    assert r.status is otf.Status.TIME_LIMIT
    assert not r.converged
    assert "raise time_limit, tol or reg" in r.message
    assert np.isfinite(r.gradient_x).all()
    with pytest.raises(ValueError, match="time_limit must be a finite real number > 0"):
        loss(x, y, reg=0.1, time_limit=0)
    assert loss(x, y, reg=0.1, time_limit=60).value == loss(x, y, reg=0.1).value


@losses
def test_status_and_message(loss, terms):
    x, y = pair(40, 2)
    r = loss(x, y, reg=0.1, tol=1e-6)
    assert r.converged
    assert r.status is otf.Status.CONVERGED
    assert r.message.endswith("(tol 1e-06)")
    assert (r.reg, r.tol) == (0.1, 1e-6)
    r = loss(x, y, reg=1e-3, tol=1e-12, max_iter=3, on_fail="ignore")
    assert r.status is otf.Status.MAX_ITER
    assert r.message.endswith("above tol 1e-12 (max_iter): raise max_iter, tol or reg")
    with pytest.raises(ValueError, match="max_iter must be an integer >= 1; got 0"):
        loss(x, y, reg=0.1, max_iter=0)


def test_a_warning_names_the_line_of_the_caller():
    x, y = pair(40, 2)
    for call in (otf.monge_gap, otf.sinkhorn_divergence):
        with pytest.warns(otf.ConvergenceWarning) as caught:
            call(x, y, reg=1e-3, tol=1e-12, max_iter=3)
        assert [w.filename for w in caught] == [__file__]


# ---- copies -----------------------------------------------------------------------------------


def same(got, want):
    assert repr(got) == repr(want)
    assert got.value == want.value
    np.testing.assert_array_equal(got.gradient_x, want.gradient_x)
    np.testing.assert_array_equal(got.gradient, want.gradient)
    for u, v in zip(got.potentials, want.potentials, strict=True):
        np.testing.assert_array_equal(u, v)


def test_results_go_through_processes():
    x, y = pair(30, 2)
    want = {k: loss(x, y, reg=0.2) for k, (loss, _) in LOSSES.items()}
    options = {"reg": 0.2, "debias": True}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        same(pool.apply(otf.monge_gap, (x, y), options), want["monge_gap"])
        got = pool.apply(otf.sinkhorn_divergence, (otf.PointCloud(x, y),), {"reg": 0.2})
        same(got, want["sinkhorn_divergence"])
    joblib = pytest.importorskip("joblib")
    found = joblib.Parallel(n_jobs=2)(
        joblib.delayed(otf.monge_gap)(x, y, **options) for _ in range(2)
    )
    for got in found:
        same(got, want["monge_gap"])


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))]
)
def test_warm_starts_are_copied_and_pickled(copied):
    x, y = pair(40, 2)
    warm = otf.WarmStart()
    otf.sinkhorn_divergence(x, y, reg=0.1, init=warm)
    twin = copied(warm)
    assert repr(twin) == repr(warm)
    two, one = (otf.sinkhorn_divergence(x, 1.01 * y, reg=0.1, init=w) for w in (twin, warm))
    same(two, one)
    assert repr(twin) == repr(warm)
    assert twin.solves == 5  # the term of x is not solved again


# ---- bad input --------------------------------------------------------------------------------

X, Y = np.zeros((3, 2)), np.ones((3, 2))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: otf.monge_gap(X, Y[:2]), ValueError, "x and Tx must have as many points; got 3"),
        (lambda: otf.monge_gap(X, Y[:, :1]), ValueError, "x and Tx must have the same dimension"),
        (lambda: otf.monge_gap(X, Y * np.nan), ValueError, r"Tx must be finite; Tx\[0, 0\]"),
        (lambda: otf.monge_gap(X, None), TypeError, "Tx must be a real array"),
        (lambda: otf.monge_gap(X, Y, reg=0), ValueError, "reg must be a finite real number > 0"),
        (lambda: otf.monge_gap(X, Y, reg="1"), TypeError, "reg"),
        (lambda: otf.monge_gap(X, Y, cost="minkowski"), ValueError, "cost must be one of"),
        (
            lambda: otf.monge_gap(X, Y, cost="power"),
            ValueError,
            "p must be given",
        ),
        (lambda: otf.monge_gap(X, Y, cost="power", p=-1), ValueError, "p must be"),
        (lambda: otf.monge_gap(X, Y, p=2), ValueError, "p must be left out"),
        (lambda: otf.monge_gap(X, Y, cost="cosine"), ValueError, "x must have no zero rows"),
        (lambda: otf.monge_gap(Y, X, cost="cosine"), ValueError, "Tx must have no zero rows"),
        (lambda: otf.monge_gap(X, Y, reg=1.0, init=3), TypeError, "init must be a WarmStart"),
        (lambda: otf.monge_gap(X, Y, reg=1.0, init=(X, Y)), ValueError, "init f must have shape"),
        (lambda: otf.monge_gap(X, Y, on_fail="shrug"), ValueError, "on_fail"),
        (lambda: otf.monge_gap(X, Y, max_iter=0), ValueError, "max_iter"),
        (lambda: otf.monge_gap(X, Y, tol=-1), ValueError, "tol"),
        (lambda: otf.monge_gap(1e140 * Y, X, cost="power", p=3), ValueError, "Rescale x and y"),
        (lambda: otf.monge_gap(1e200 * Y, X), ValueError, "the largest coordinate of x and Tx"),
        (lambda: otf.monge_gap(1e-200 * Y, X), ValueError, "the largest coordinate of x and Tx"),
        (lambda: otf.sinkhorn_divergence(X, Y, [1, 2], reg=1), ValueError, "a must have shape"),
        (lambda: otf.sinkhorn_divergence(X, Y, [1, 1, 1], [1, 1, 2], reg=1), ValueError, "sums"),
        (lambda: otf.sinkhorn_divergence(X, Y, [-1, 1, 1], reg=1), ValueError, r"a\[0\] = -1"),
        (lambda: otf.sinkhorn_divergence(X, Y, reg=1, unbalanced=0), ValueError, "unbalanced"),
        (lambda: otf.sinkhorn_divergence(X, Y, reg=1, init=(1, 2)), TypeError, "init must be"),
        (lambda: otf.PointCloud(X, Y, "power"), ValueError, "p must be given"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_no_convergence_is_reported():
    x, y = pair(50, 2)
    options = {"reg": 1e-3, "max_iter": 3, "tol": 1e-9}
    with pytest.warns(otf.ConvergenceWarning, match="monge_gap: error"):
        gap = otf.monge_gap(x, y, **options)
    assert not gap.converged
    assert np.isfinite(gap.gradient).all()
    with pytest.raises(otf.ConvergenceError) as caught:
        otf.sinkhorn_divergence(x, y, on_fail="raise", **options)
    assert isinstance(caught.value.result, otf.SinkhornDivergence)
    otf.monge_gap(x, y, on_fail="ignore", **options)


def test_inputs_are_neither_changed_nor_kept():
    x, y = pair(20, 2)
    before = x.copy(), y.copy()
    gap = otf.monge_gap(x, y, reg=0.1)
    y += 1
    expected = otf.monge_gap(*before, reg=0.1).gradient
    np.testing.assert_array_equal(gap.gradient, expected)
    np.testing.assert_array_equal(x, before[0])


# ---- gradients of the plan --------------------------------------------------------------------


@pytest.mark.parametrize("reg", [0.02, 0.2, 2.0])
@pytest.mark.parametrize(("n", "m"), [(7, 9), (1, 4), (40, 30)])
def test_gradients_of_the_plan(reg, n, m):
    rng = np.random.default_rng(0)
    a, b, C = rng.dirichlet(np.full(n, 5)), rng.dirichlet(np.full(m, 5)), rng.random((n, m))
    G = rng.normal(size=(n, m))

    def loss(p=a, q=b, cost=C):
        return float((otf.sinkhorn(p, q, cost, reg, tol=1e-13, on_fail="ignore").plan * G).sum())

    r = otf.sinkhorn(a, b, C, reg, tol=1e-13, on_fail="ignore")
    da, db, dC = r.plan_vjp(G)
    p, q, c = rng.normal(size=n), rng.normal(size=m), rng.normal(size=(n, m))
    p, q = a * (p - a @ p), b * (q - b @ q)  # sums stay
    h = 1e-4 * reg
    assert (dC * c).sum() == pytest.approx(
        slope(lambda z: loss(cost=z), C, c, h), rel=1e-4, abs=1e-7
    )
    assert da @ p == pytest.approx(slope(lambda z: loss(p=z), a, p, 1e-5), rel=1e-4, abs=1e-7)
    assert db @ q == pytest.approx(slope(lambda z: loss(q=z), b, q, 1e-5), rel=1e-4, abs=1e-7)


def test_gradient_of_a_sparse_plan_uses_the_sparse_hessian():
    from ot_fast import _implicit

    rng = np.random.default_rng(1)
    x, y = np.sort(rng.random(200)), np.sort(rng.random(180))
    C, G = pairwise(x[:, None], y[:, None], "sqeuclidean"), rng.normal(size=(200, 180))
    r = otf.sinkhorn(None, None, C, 1e-5, tol=1e-12)
    P = np.asarray(r.plan)
    assert (1e-18 * np.maximum.outer(P.sum(1), P.sum(0)) < P).mean() < _implicit.DENSE
    da, db, dC = r.plan_vjp(G)
    H = np.block([[np.diag(P.sum(1)), P], [P.T, np.diag(P.sum(0))]])
    s = np.linalg.lstsq(H, np.concatenate([(G * P).sum(1), (G * P).sum(0)]), rcond=1e-13)[0]
    expected = P * (s[:200, None] + s[200:] - G) / 1e-5
    np.testing.assert_allclose(dC, expected, atol=1e-6 * abs(expected).max())
    shift = np.mean(da - s[:200])
    np.testing.assert_allclose(da - shift, s[:200], atol=1e-5)
    np.testing.assert_allclose(db + shift, s[200:], atol=1e-5)


def test_plan_vjp_checks_its_argument():
    r = otf.sinkhorn(None, None, np.ones((2, 3)), 1.0)
    with pytest.raises(ValueError, match=r"G must have shape \(2, 3\)"):
        r.plan_vjp(np.ones((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        r.plan_vjp(np.full((2, 3), np.nan))


@pytest.mark.parametrize("n", [2, 3, 40])
def test_own_terms_have_one_potential(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 20)), 3 + rng.normal(size=(n, 20))
    d = otf.sinkhorn_divergence(x, y, reg=20.0, tol=1e-10)
    _, _, f_xx, g_yy = d.potentials
    for points, h in ((x, f_xx), (y, g_yy)):
        C = pairwise(points, points, "sqeuclidean")
        P = np.exp((h[:, None] + h - C) / 20.0) / n**2
        np.testing.assert_allclose(P.sum(0), 1 / n, rtol=0, atol=1e-9)


@pytest.mark.parametrize("unbalanced", [None, 1e8])
def test_weights_of_points_far_apart(unbalanced):
    # W(x, x) = -reg sum_i a_i log a_i: its potentials are -reg/2 log a
    x, y = np.array([[0.0], [100.0], [200.0]]), np.array([[40.0], [55.0], [70.0]])
    a = np.array([0.2, 0.3, 0.5])
    d = otf.sinkhorn_divergence(x, y, a, None, reg=50.0, unbalanced=unbalanced)
    np.testing.assert_allclose(d.potentials[2], -25 * np.log(a), rtol=0, atol=1e-3)
    if unbalanced is None:
        cross = otf.sinkhorn(a, None, pairwise(x, y, "sqeuclidean"), 50.0)
        off = d.gradient_a - (cross.f + 25 * np.log(a))
        np.testing.assert_allclose(off - off[0], 0, rtol=0, atol=1e-3)
