"""Sparse Newton at any reg, Sinkhorn-Newton-Sparse, and regularisation paths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import marginal_error, random_problem
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import ot_fast as otf

SMALL_REG = 1 / 1200


def assignment(n, seed=0):
    return np.random.default_rng(seed).random((n, n))


def grid_l1(side):
    """Two random images on a pixel grid under the L1 distance: ties everywhere."""
    rng = np.random.default_rng(2)
    points = np.stack(np.meshgrid(*[np.arange(side)] * 2), -1).reshape(-1, 2)
    C = np.abs(points[:, None] - points[None]).sum(-1).astype(float)
    a, b = rng.random(side**2) ** 4 + 1e-3, rng.random(side**2) ** 4 + 1e-3
    return a / a.sum(), b / b.sum(), C / C.max()


def solved(r, a, b, tol=1e-9):
    assert r.converged, r.message
    assert marginal_error(r.plan, a, b) <= tol * (1 + 1e-6)
    assert r.lower_bound <= r.value_linear + 1e-9
    assert r.value == pytest.approx(r.dual_value, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("reg", [10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("shape", [(60, 60), (1, 7), (50, 90), (90, 50)])
def test_newton_at_every_reg(reg, shape):
    a, b, C = random_problem(*shape, seed=3)
    r = otf.sinkhorn(a, b, C / C.max(), reg, method="newton")
    solved(r, a, b)


@pytest.mark.parametrize("reg", [1e-2, 1e-4])
def test_newton_on_points(reg):
    rng = np.random.default_rng(4)
    x, y = rng.random((300, 2)), rng.random((350, 2))
    r = otf.sinkhorn(None, None, otf.PointCloud(x, y), reg, method="newton")
    solved(r, np.full(300, 1 / 300), np.full(350, 1 / 350))


def test_newton_needs_tens_of_passes():
    r = otf.sinkhorn(None, None, assignment(500), SMALL_REG)
    assert r.method == "newton"
    assert r.converged
    assert r.n_iter <= 40


@pytest.mark.parametrize("seed", range(4))
def test_newton_with_blocks_that_few_entries_link(seed):
    rng = np.random.default_rng(seed)
    centres = 20 * rng.normal(size=(4, 64))
    x, y = (rng.normal(size=(152, 64)) + centres[rng.integers(4, size=152)] for _ in "xy")
    C = cdist(x, y, "sqeuclidean")
    r = otf.sinkhorn(None, None, C, 2e-5 * C.max(), method="newton")
    solved(r, np.full(152, 1 / 152), np.full(152, 1 / 152))
    assert r.n_iter <= 60


def test_newton_with_ties():
    a, b, C = grid_l1(14)
    r = otf.sinkhorn(a, b, C, SMALL_REG, method="newton")
    solved(r, a, b)
    assert r.n_iter <= 200


def test_small_reg_finds_the_assignment():
    C = assignment(80, seed=5)
    i, j = linear_sum_assignment(C)
    r = otf.sinkhorn(None, None, C, 1e-6, method="newton")
    assert r.value_linear == pytest.approx(C[i, j].mean(), abs=1e-6)
    assert r.lower_bound == pytest.approx(C[i, j].mean(), abs=1e-5)
    assert r.lower_bound <= C[i, j].mean() + 1e-12 <= r.upper_bound + 2e-12


def test_auto_hands_over_where_the_plan_is_dense():
    C = assignment(400, seed=6)
    dense = otf.sinkhorn(None, None, C, 0.5)
    assert dense.method == "scaling"
    assert dense.converged
    solved(dense, np.full(400, 1 / 400), np.full(400, 1 / 400))


def test_sns_agrees_with_sinkhorn():
    a, b, C = random_problem(40, 50, seed=7)
    ours = otf.sinkhorn(a, b, C, 0.02, method=otf.SNS(density=0.2), tol=1e-11)
    log = otf.sinkhorn(a, b, C, 0.02, method="log", tol=1e-11)
    assert ours.converged
    np.testing.assert_allclose(ours.plan, log.plan, atol=1e-11)
    assert "Newton" in ours.message


def test_sns_beats_sinkhorn_in_iterations():
    C = assignment(200, seed=8)
    newton = otf.sinkhorn(None, None, C, 2e-3, method="sns")
    plain = otf.sinkhorn(None, None, C, 2e-3, method="log")
    assert newton.converged
    assert newton.n_iter < plain.n_iter


def test_path_keeps_the_order_and_warm_starts():
    C = assignment(300, seed=9)
    regs = [1e-3, 1e-1, 1e-2]
    path = otf.sinkhorn_path(None, None, C, regs)
    assert [r.reg for r in path] == regs
    for r in path:
        solved(r, np.full(300, 1 / 300), np.full(300, 1 / 300))
    near = otf.sinkhorn(None, None, C, 0.9e-3, init=path[0])
    cold = otf.sinkhorn(None, None, C, 0.9e-3)
    assert near.n_iter < cold.n_iter


def test_empty_path_is_an_error():
    with pytest.raises(ValueError, match="regs must be a nonempty vector"):
        otf.sinkhorn_path(None, None, assignment(5), [])


# ---- whatever is asked of it: accurate, or flagged ---------------------------------------------


@st.composite
def hostile(draw):
    """Marginals, costs and reg that no one would choose."""
    n, m = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["random", "constant", "ties", "duplicates", "planted", "heavy"]))
    C = rng.random((n, m))
    if kind == "constant":
        C[:] = 0.5
    elif kind == "ties":
        C = np.floor(3 * C)
    elif kind == "duplicates":
        C = C[rng.integers(0, n, n)][:, rng.integers(0, m, m)]
    elif kind == "planted":
        C = 1 + C
        C[np.arange(n), np.arange(n) % m] = 0
    elif kind == "heavy":
        C = C**-8
    weights = []
    for size in (n, m):
        w = rng.random(size)
        how = draw(st.sampled_from(["uniform", "tiny", "zeros", "denormal"]))
        if how == "uniform":
            w[:] = 1
        elif how == "tiny":
            w **= 40
        elif how == "zeros":
            w[rng.random(size) < 0.4] = 0
        elif how == "denormal":
            w[rng.random(size) < 0.3] = 1e-310
        w[rng.integers(size)] = 1
        weights.append(w / w.sum() * 10.0 ** draw(st.sampled_from([-9, 0, 9])))
    weights[1] *= weights[0].sum() / weights[1].sum()
    if draw(st.booleans()):
        C[rng.random((n, m)) < 0.2] = np.inf
    scale = 10.0 ** draw(st.sampled_from([-290, -30, 0, 30, 290]))
    finite = C[np.isfinite(C)]
    top = finite.max(initial=0) or 1.0
    C = C / top * scale
    reg = scale * 10.0 ** draw(st.sampled_from([1, 0, -1, -2, -3, -4, -5, -6]))
    return *weights, C, reg


@settings(max_examples=300, deadline=None)
@given(
    hostile(),
    st.sampled_from(["auto", "newton"]),
    st.sampled_from([None, 0.0, 1e-3]),
    st.sampled_from([None, 0, 1, 7]),
)
def test_accurate_or_flagged(problem, method, tol, max_iter):
    a, b, C, reg = problem
    options = {"tol": tol, "max_iter": max_iter, "method": method}
    try:
        r = otf.sinkhorn(a, b, C, reg, time_limit=15, on_fail="ignore", **options)
    except otf.InfeasibleError:
        assert np.isinf(C).any()
        return
    P = np.asarray(r.plan)
    assert np.isfinite(P).all()
    assert (P >= 0).all()
    for v in r.potentials:
        assert np.isfinite(v).all()
    error = marginal_error(P, a, b)
    if r.converged:
        assert error <= (1e-9 if tol is None else tol) + 1e-14
    else:
        assert r.status in (otf.Status.MAX_ITER, otf.Status.STALLED, otf.Status.TIME_LIMIT)
        assert r.message
    if not np.isinf(C).any():
        assert r.lower_bound <= r.upper_bound + 1e-12 * np.abs(C).max() * a.sum()


def test_path_takes_no_more_passes_than_cold_starts():
    x = np.random.default_rng(5).normal(size=(200, 2))
    y = 1 + 0.5 * np.random.default_rng(6).normal(size=(220, 2))
    C = ((x[:, None] - y[None]) ** 2).sum(-1)
    C /= C.max()
    regs = [1e-1, 1e-2, 1e-3, 1e-4]
    cold = [otf.sinkhorn(None, None, C, reg).n_iter for reg in regs]
    warm = [r.n_iter for r in otf.sinkhorn_path(None, None, C, regs)]
    assert sum(warm) < sum(cold)


@pytest.mark.parametrize("reg", [1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("weights", ["uniform", "dirichlet", "zeros"])
@pytest.mark.parametrize("kind", ["line", "clusters"])
def test_plans_neither_sparse_nor_well_conditioned(kind, weights, reg):
    """Ties on a line, and far clusters of unequal mass: kernels overflow and Sinkhorn stalls."""
    n, m = 200, 350
    rng = np.random.default_rng(0)
    if kind == "line":
        x, y = np.sort(rng.random(n)), np.sort(rng.random(m))
        C = np.abs(x[:, None] - y[None])
    else:
        x = 0.01 * rng.normal(size=(n, 2)) + 10 * rng.integers(0, 4, (n, 1))
        y = 0.01 * rng.normal(size=(m, 2)) + 10 * rng.integers(0, 4, (m, 1))
        C = ((x[:, None] - y[None]) ** 2).sum(-1)
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    if weights != "uniform":
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        if weights == "zeros":
            a[rng.random(n) < 0.3] = 0
            b[rng.random(m) < 0.3] = 0
        a, b = a / a.sum(), b / b.sum()
    r = otf.sinkhorn(a, b, C, reg * C.max())
    assert not np.isnan(r.history["error"]).any()
    assert abs(r.plan.sum(1) - a).sum() < 1.1e-9
    assert abs(r.plan.sum(0) - b).sum() < 1.1e-9
    assert r.lower_bound <= r.value_linear <= r.lower_bound + reg * C.max() * np.log(n * m)
