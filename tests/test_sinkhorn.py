"""Sinkhorn: closed forms, independent solvers, invariants, hostile inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from problems import (
    clouds,
    entropic_value,
    exact_assignment,
    exact_ot,
    gaussian_on_grid,
    gaussian_ot,
    gibbs_defect,
    marginal_error,
    monotone_plan,
    pairwise,
    random_problem,
    reference,
    two_by_two,
)
from scipy import special

import ot_fast as otf

METHODS = ("auto", "newton", "scaling", "log")
TOL = {"float64": 1e-10, "float32": 1e-5}
SLACK = {"float64": 1e-12, "float32": 1e-6}  # of sums over the plan, for marginal errors

methods = pytest.mark.parametrize("method", METHODS)
dtypes = pytest.mark.parametrize("dtype", TOL)


def solve(a, b, C, reg, **options):
    return otf.sinkhorn(a, b, C, reg, on_fail="raise", **options)


def centred(f, g):
    """Potentials with the constant that is free between them removed."""
    f, g = np.asarray(f, float), np.asarray(g, float)
    return np.concatenate([f - f[0], g + f[0]])


def assert_optimal(r, a, b, C, reg, tol):
    """Right marginals and the Gibbs form, both read off the plan: the plan is the optimum."""
    P, eps = r.plan, np.finfo(r.plan.dtype).eps
    assert marginal_error(P, a, b) <= tol + SLACK[P.dtype.name]
    weighted = (np.asarray(a) > 0)[:, None] & (np.asarray(b) > 0)
    size = max(1.0, np.ptp(C[np.isfinite(C) & weighted]) / reg)
    if P.size <= 400:
        assert gibbs_defect(P, a, b, C, reg) <= 256 * eps * size
    f, g = (np.asarray(p, float) for p in r.potentials)
    with np.errstate(under="ignore"):
        gibbs = np.outer(a, b).astype(float) * np.exp((f[:, None] + g - C) / reg)
    np.testing.assert_allclose(P, gibbs, rtol=256 * eps * size, atol=1e-30)


# ---- against the truth ------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS, "sns"])
@dtypes
@pytest.mark.parametrize("shape", [(2, 2), (7, 12), (12, 5), (9, 9)])
@pytest.mark.parametrize("reg", [5.0, 0.2, 0.02])
def test_matches_extended_precision(method, dtype, shape, reg):
    a, b, C = random_problem(*shape, seed=sum(shape), dtype=dtype)
    f, g, P = reference(a, b, C, reg)
    r = solve(a, b, C, reg, method=method, tol=TOL[dtype])
    atol = {"float64": 1e-8, "float32": 3e-4}[dtype]
    value, linear = entropic_value(P, a / a.sum(), b / b.sum(), C, reg)
    np.testing.assert_allclose(r.plan, P.astype(float), rtol=0, atol=atol)
    np.testing.assert_allclose(centred(r.f, r.g), centred(f, g), rtol=0, atol=10 * atol)
    got = [r.value, r.value_linear, r.dual_value]
    np.testing.assert_allclose(got, [value, linear, value], rtol=0, atol=atol)
    assert r.plan.dtype == r.f.dtype == r.g.dtype == dtype


@methods
@pytest.mark.parametrize("reg", [3e-3, 1e-3])
def test_matches_extended_precision_at_small_reg(method, reg):
    a, b, C = random_problem(9, 8, seed=3)
    f, g, P = reference(a, b, C, reg)
    r = solve(a, b, C, reg, method=method, tol=1e-11, max_iter=1_000_000)
    np.testing.assert_allclose(r.plan, P.astype(float), rtol=0, atol=1e-7)
    np.testing.assert_allclose(centred(r.f, r.g), centred(f, g), rtol=0, atol=1e-6)


@methods
@dtypes
@pytest.mark.parametrize("geometry", ["dense", "cloud"])
@pytest.mark.parametrize(("n", "m", "reg"), [(150, 97, 0.05), (64, 257, 0.5), (33, 31, 5.0)])
def test_plan_is_optimal(method, dtype, geometry, n, m, reg):
    rng = np.random.default_rng(n)
    x, y = rng.random((n, 3)).astype(dtype), rng.random((m, 3)).astype(dtype)
    a, b, _ = random_problem(n, m, seed=n, dtype=dtype)
    C = pairwise(x, y, "sqeuclidean")
    cost = C.astype(dtype) if geometry == "dense" else otf.PointCloud(x, y)
    r = solve(a, b, cost, reg, method=method, tol=TOL[dtype])
    assert_optimal(r, a, b, C, reg, TOL[dtype])
    value, linear = entropic_value(r.plan, a, b, C, reg)
    rtol = {"float64": 1e-9, "float32": 1e-4}[dtype]
    np.testing.assert_allclose([r.value, r.value_linear], [value, linear], rtol=rtol, atol=rtol)


GAUSSIANS = {
    "1d": (([0.0], [[1.0]]), ([1.0], [[0.25]]), 0.5, 0.2),
    "1d-small-reg": (([0.0], [[1.0]]), ([0.5], [[0.5]]), 0.02, 0.06),
    "2d": (
        ([0.0, 0.0], [[1.0, 0.3], [0.3, 0.6]]),
        ([1.0, -0.5], [[0.5, -0.2], [-0.2, 0.8]]),
        1.0,
        0.45,
    ),
}


@methods
@pytest.mark.parametrize("geometry", ["dense", "cloud"])
@pytest.mark.parametrize("case", GAUSSIANS)
def test_gaussians(method, geometry, case):
    source, target, reg, spacing = GAUSSIANS[case]
    (x, a), (y, b) = (gaussian_on_grid(*gauss, spacing) for gauss in (source, target))
    cloud = otf.PointCloud(x, y)
    cost = cloud if geometry == "cloud" else pairwise(x, y, "sqeuclidean")
    r = solve(a, b, cost, reg, method=method)
    value, linear, cross = gaussian_ot(*source, *target, reg)
    np.testing.assert_allclose([r.value, r.value_linear], [value, linear], rtol=0, atol=1e-7)
    x, y = x - source[0], y - target[0]
    np.testing.assert_allclose(x.T @ (r.plan_operator @ y), cross, rtol=0, atol=1e-7)


@methods
@pytest.mark.parametrize("cost", ["sqeuclidean", "cityblock"])
def test_monotone_on_the_line(method, cost):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(40, 1)), 1 + 2 * rng.normal(size=(30, 1))
    a, b, _ = random_problem(40, 30, seed=5)
    C = pairwise(x, y, cost)
    exact = np.sum(monotone_plan(x[:, 0], a, y[:, 0], b) * C)
    reg = 0.01 * C.max()
    r = solve(a, b, otf.PointCloud(x, y, cost=cost), reg, method=method, tol=1e-7)
    assert r.lower_bound <= exact * (1 + 1e-12)
    assert exact <= r.upper_bound * (1 + 1e-12)
    # <C,P> + reg KL(P) <= <C,P*> + reg KL(P*), and KL(P*) is at most the entropy of a
    assert exact - 1e-5 <= r.value_linear <= exact + reg * np.sum(a * -np.log(a)) + 1e-5


@methods
@dtypes
@pytest.mark.parametrize("relative_reg", [1e-2, 1e-4, 1e-6])
def test_planted_permutation(method, dtype, relative_reg):
    n, rng = 30, np.random.default_rng(1)
    permutation = rng.permutation(n)
    x = np.arange(n, dtype=dtype)[:, None]
    reg = relative_reg * 1.0  # neighbours are 1 apart
    r = solve(None, None, otf.PointCloud(x, x[permutation]), reg, method=method)
    expected = (np.arange(n)[:, None] == permutation) / n
    np.testing.assert_allclose(r.plan, expected, rtol=0, atol=1e-6 / n)
    assert abs(r.value_linear) <= 1e-9
    assert r.lower_bound <= 1e-12
    assert r.upper_bound >= -1e-12


@methods
@dtypes
@pytest.mark.parametrize("side", ["one row", "one column", "one pair"])
@pytest.mark.parametrize("reg", [1e-6, 1e3])
def test_dirac(method, dtype, side, reg):
    n, m = {"one row": (1, 9), "one column": (9, 1), "one pair": (1, 1)}[side]
    a, b, C = random_problem(n, m, dtype=dtype)
    r = solve(a, b, C, reg, method=method)
    np.testing.assert_allclose(r.plan, np.outer(a, b), rtol=1e-6)
    expected = np.sum(np.outer(a, b) * C)
    np.testing.assert_allclose([r.value_linear, r.lower_bound, r.upper_bound], expected, rtol=1e-5)
    np.testing.assert_allclose([r.value, r.dual_value], expected, rtol=1e-5, atol=1e-6 * reg)
    np.testing.assert_allclose(np.add.outer(r.f, r.g), C, rtol=1e-5, atol=1e-6 * reg)


@methods
@dtypes
def test_product_plan_at_huge_reg(method, dtype):
    a, b, C = random_problem(40, 50, dtype=dtype)
    r = solve(a, b, C, 1e5, method=method)
    np.testing.assert_allclose(r.plan, np.outer(a, b), rtol=4e-5)
    np.testing.assert_allclose(r.value_linear, a @ C @ b, rtol=1e-4)


@given(
    a1=st.floats(0.01, 0.99),
    b1=st.floats(0.01, 0.99),
    log_theta=st.floats(-8, 8),
    reg=st.floats(1e-3, 1e3),
    tilt=st.floats(-10, 10),
)
def test_two_by_two(a1, b1, log_theta, reg, tilt):
    a, b = np.array([a1, 1 - a1]), np.array([b1, 1 - b1])
    C = reg * np.array([[0.0, log_theta + tilt], [-tilt, 0.0]])
    for method in METHODS:
        r = solve(a, b, C, reg, method=method, tol=1e-12)
        assert r.plan[0, 0] == pytest.approx(float(two_by_two(a1, b1, log_theta)), abs=1e-9)


@methods
@pytest.mark.parametrize("reg", [1.0, 0.05])
def test_agrees_with_pot(method, reg):
    ot = pytest.importorskip("ot")
    a, b, C = random_problem(60, 45, seed=2)
    pot, log = ot.sinkhorn(
        a, b, C, reg, method="sinkhorn_log", stopThr=1e-13, numItermax=100_000, log=True
    )
    r = solve(a, b, C, reg, method=method, tol=1e-12)
    np.testing.assert_allclose(r.plan, pot, rtol=0, atol=1e-11)
    # the conversion in the documentation: log_u = f / reg + log a
    ours = centred(r.f / reg + np.log(a), r.g / reg + np.log(b))
    np.testing.assert_allclose(ours, centred(log["log_u"], log["log_v"]), rtol=0, atol=1e-8)


# ---- any reg, and the certificate -------------------------------------------------------------


@methods
@dtypes
@pytest.mark.parametrize("relative_reg", [10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6])
def test_any_reg_is_accurate_or_flagged(method, dtype, relative_reg):
    _, _, C = random_problem(25, 25, seed=7, dtype=dtype)
    a = b = np.full(25, 1 / 25)
    C *= 37.0
    reg, tol = relative_reg * float(C.max()), 10 * TOL[dtype]
    exact = exact_assignment(C.astype(float))
    r = otf.sinkhorn(a, b, C, reg, method=method, tol=tol, max_iter=500, on_fail="ignore")
    fields = [r.value, r.value_linear, r.dual_value, r.lower_bound, r.upper_bound, r.marginal_error]
    assert np.isfinite(fields).all()
    assert all(np.isfinite(v).all() for v in (r.plan, r.f, r.g))
    error = marginal_error(r.plan, a, b)
    assert r.marginal_error == pytest.approx(error, rel=1e-3, abs=SLACK[dtype])
    assert r.converged == (r.status == otf.Status.CONVERGED) == (r.marginal_error <= tol)
    slack = 1e-12 if dtype == "float64" else 1e-5
    assert r.lower_bound <= exact * (1 + slack)
    assert r.upper_bound >= exact * (1 - slack)
    if relative_reg >= 0.1:
        assert r.converged


@pytest.mark.parametrize("geometry", ["dense", "cloud"])
@pytest.mark.parametrize("max_iter", [0, 1, 7, 1000])
@pytest.mark.parametrize("reg", [1.0, 1e-2])
def test_bounds_bracket_the_linear_programme(geometry, max_iter, reg):
    rng = np.random.default_rng(11)
    x, y = rng.random((30, 2)), rng.random((40, 2)) + 0.3
    a, b, _ = random_problem(30, 40, seed=11)
    C = pairwise(x, y, "euclidean")
    exact = exact_ot(a, b, C)
    cost = C if geometry == "dense" else otf.PointCloud(x, y, cost="euclidean")
    r = otf.sinkhorn(a, b, cost, reg, max_iter=max_iter, on_fail="ignore")
    assert r.lower_bound <= exact + 1e-9
    assert r.upper_bound >= exact - 1e-9
    assert r.gap == pytest.approx(r.upper_bound - r.lower_bound, rel=1e-12)
    if (max_iter, reg) == (1000, 1e-2):
        assert r.gap <= 0.1 * exact


def test_bounds_are_the_c_transform_and_the_rounded_plan():
    a, b, C = random_problem(12, 15, seed=4)
    r = solve(a, b, C, 0.02)
    f, g = r.potentials
    lower = max(a @ (C - g).min(1) + b @ g, a @ f + b @ (C - f[:, None]).min(0))
    assert lower * (1 - 1e-9) <= r.lower_bound <= exact_ot(a, b, C) + 1e-9
    P = r.plan * np.minimum(1, a / r.plan.sum(1))[:, None]
    P = P * np.minimum(1, b / P.sum(0))
    left_a, left_b = a - P.sum(1), b - P.sum(0)
    P = P + np.outer(left_a, left_b) / left_a.sum()
    assert exact_ot(a, b, C) - 1e-9 <= r.upper_bound <= np.sum(P * C) * (1 + 1e-12)
    assert r.upper_bound == pytest.approx(np.sum(P * C), rel=1e-6)


# ---- forbidden pairs, zero weights, masses ----------------------------------------------------


@methods
def test_forbidden_pairs(method):
    a, b, C = random_problem(8, 8, seed=6)
    a = b = np.full(8, 1 / 8)
    forbidden = np.random.default_rng(6).random((8, 8)) < 0.3
    np.fill_diagonal(forbidden, False)
    f, g, P = reference(a, b, np.where(forbidden, 1e3, C), 0.1)  # exp(-1e4) is 0 in float64
    C[forbidden] = np.inf
    r = solve(a, b, C, 0.1, method=method, tol=1e-11)
    assert (r.plan[forbidden] == 0).all()
    np.testing.assert_allclose(r.plan, P.astype(float), rtol=0, atol=1e-9)
    assert r.value == pytest.approx(float(a @ f + b @ g), abs=1e-9)
    exact = exact_ot(a, b, C)
    assert r.lower_bound - 1e-9 <= exact <= r.upper_bound + 1e-9


@methods
@dtypes
def test_zero_weights_carry_nothing_and_change_nothing(method, dtype):
    a, b, C = random_problem(20, 25, seed=8, dtype=dtype)
    a[[0, 7, 19]] = 0
    b[[3, 24]] = 0
    a, b = a / a.sum(), b / b.sum()
    r = solve(a, b, C, 0.1, method=method, tol=TOL[dtype])
    kept = solve(a[a > 0], b[b > 0], C[np.ix_(a > 0, b > 0)], 0.1, method=method, tol=TOL[dtype])
    rtol = {"float64": 1e-9, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(r.plan[np.ix_(a > 0, b > 0)], kept.plan, rtol=rtol)
    assert not r.plan[a == 0].any()
    assert not r.plan[:, b == 0].any()
    # where there is no weight, potentials are the c-transform of the others, hard or soft
    for ours, other, own, weight, cost in ((r.f, r.g, a, b, C), (r.g, r.f, b, a, C.T)):
        hard = np.where(weight > 0, cost - other, np.inf).min(1)
        soft = -0.1 * special.logsumexp((other - cost) / 0.1, b=weight, axis=1)
        off = np.minimum(abs(ours - hard), abs(ours - soft))
        assert off[own == 0].max() <= 1e-5
    for name in ("value", "value_linear", "lower_bound"):
        assert getattr(r, name) == pytest.approx(getattr(kept, name), rel=rtol)
    assert r.upper_bound == pytest.approx(kept.upper_bound, rel=100 * rtol)  # on what is missing


@pytest.mark.parametrize("seed", [0, 2, 7])
def test_weights_of_all_magnitudes(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.full(130, 0.01)), rng.dirichlet(np.full(270, 0.01))
    C = rng.random((130, 270))
    assert 0 < a[a > 0].min() < 1e-100
    r = otf.sinkhorn(a, b, C, 2e-6)
    assert r.converged
    assert marginal_error(r.plan, a, b) <= r.tol
    small = a < 1e-18
    assert not r.plan[small].any()
    b = np.where(b < 1e-18, 0, b)
    soft = -2e-6 * special.logsumexp((r.g - C[small]) / 2e-6, b=b, axis=1)
    np.testing.assert_allclose(r.f[small], soft, rtol=0, atol=1e-9)


@methods
@pytest.mark.parametrize("mass", [1e-6, 3.0, 1e9])
def test_any_mass(method, mass):
    a, b, C = random_problem(9, 12, seed=9)
    *_, P = reference(a, b, C, 0.1)
    r = solve(mass * a, mass * b, C, 0.1, method=method, tol=1e-11)
    np.testing.assert_allclose(r.plan, mass * P.astype(float), rtol=0, atol=1e-9 * mass)
    assert_optimal(r, mass * a, mass * b, C, 0.1, 1e-11)
    warm = otf.sinkhorn(
        mass * a, mass * b, C, 0.1, method=method, init=(r.f, r.g), max_iter=0, on_fail="ignore"
    )
    np.testing.assert_allclose(warm.plan, r.plan, rtol=1e-9)
    expected = entropic_value(r.plan, mass * a, mass * b, C, 0.1)[0]
    assert r.value == pytest.approx(expected, rel=1e-8)
    assert r.dual_value == pytest.approx(expected, rel=1e-8)
    assert r.value_linear == pytest.approx(mass * float(np.sum(P * C)), rel=1e-9)
    exact = mass * exact_ot(a, b, C)
    assert r.lower_bound * (1 - 1e-9) <= exact <= r.upper_bound * (1 + 1e-9)


@pytest.mark.parametrize("mass", [1e-6, 3.0, 1e9])
def test_value_of_a_plan_that_is_no_solution(mass):
    a, b, C = random_problem(9, 12, seed=9)
    f, g = np.linspace(0, 0.1, 9), np.linspace(-0.2, 0.1, 12)
    r = otf.sinkhorn(mass * a, mass * b, C, 0.1, init=(f, g), max_iter=0, on_fail="ignore")
    assert abs(r.plan.sum() / mass - 1) > 1e-3
    expected = entropic_value(r.plan, mass * a, mass * b, C, 0.1)[0]
    assert r.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_of_the_kernel_is_storage_not_accuracy(dtype):
    a, b, C = random_problem(12, 12, seed=10)
    *_, P = reference(a, b, C, 0.05)
    tol = 1e-6 if dtype == "float32" else 1e-11
    r = solve(a, b, C, 0.05, method=otf.Scaling(dtype=dtype), tol=tol)
    np.testing.assert_allclose(r.plan, P.astype(float), rtol=0, atol=20 * tol)
    assert r.plan.dtype == "float64"


# ---- what is built on sinkhorn ------------------------------------------------------------------


def test_path_gives_each_solution_in_the_order_asked():
    a, b, C = random_problem(9, 12, seed=16)
    regs = [0.02, 1.0, 0.1, 0.02]
    results = otf.sinkhorn_path(a, b, C, regs, tol=1e-12)
    assert [r.reg for r in results] == regs
    for r in results:
        np.testing.assert_allclose(
            r.plan, reference(a, b, C, r.reg)[2].astype(float), rtol=0, atol=1e-9
        )


def test_path_of_unsigned_regs_goes_down():
    a, b, C = random_problem(9, 12, seed=16)
    regs = np.array([1, 3, 2], "uint8")
    seen = []
    otf.sinkhorn_path(a, b, C, regs, callback=lambda info: seen.append(info["reg"]))
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {1.0, 2.0, 3.0}


@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", "cityblock"])
def test_entropic_map_averages_the_targets(cost):
    x, y = clouds(40, 50, 3, seed=17)
    a, b, _ = random_problem(40, 50, seed=17)
    r = solve(a, b, otf.PointCloud(x, y, cost=cost), 0.5)
    np.testing.assert_allclose(otf.entropic_map(r, x), (r.plan @ y) / a[:, None], rtol=1e-6)
    new = np.array([[0.1, -3.0, 0.2], [30.0, 0.0, 5.0]])  # the second far outside
    weight = special.softmax((r.g - pairwise(new, y, cost)) / 0.5 + np.log(b), axis=1)
    np.testing.assert_allclose(otf.entropic_map(r, new), weight @ y, rtol=1e-6)
    labels = np.arange(50.0)
    np.testing.assert_allclose(otf.entropic_map(r, new, labels), weight @ labels, rtol=1e-6)
    with pytest.raises(TypeError, match="PointCloud"):
        otf.entropic_map(solve(a, b, pairwise(x, y, cost), 0.5), x)


def test_entropic_map_of_a_power():
    x, y = clouds(30, 40, 2, seed=18)
    r = solve(None, None, otf.PointCloud(x, y, cost="power", p=1.5), 0.5)
    np.testing.assert_allclose(otf.entropic_map(r, x), 30 * (r.plan @ y), rtol=1e-6)


# ---- invariants -------------------------------------------------------------------------------


@st.composite
def gentle(draw):
    """A well-conditioned problem: its plan is known to many more digits than are compared."""
    n, m = draw(st.integers(2, 10)), draw(st.integers(2, 10))
    a, b, C = random_problem(n, m, seed=draw(st.integers(0, 10_000)))
    a, b = (v + 0.01 for v in (a, b))
    return a / a.sum(), b / b.sum(), C, draw(st.floats(0.05, 5.0)), draw(st.sampled_from(METHODS))


def plan_of(a, b, C, reg, method):
    return solve(a, b, C, reg, method=method, tol=1e-12).plan


def assert_same_plan(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@given(gentle(), st.floats(-100, 100))
def test_scaling_cost_and_reg_changes_no_plan(problem, exponent):
    a, b, C, reg, method = problem
    s = 10.0**exponent
    assert_same_plan(plan_of(a, b, s * C, s * reg, method), plan_of(a, b, C, reg, method))


@given(gentle())
def test_transposing_the_problem_transposes_the_plan(problem):
    a, b, C, reg, method = problem
    assert_same_plan(plan_of(b, a, C.T, reg, method).T, plan_of(a, b, C, reg, method))


@given(gentle(), st.randoms(use_true_random=False))
def test_permuting_points_permutes_the_plan(problem, random):
    a, b, C, reg, method = problem
    i, j = (random.sample(range(len(w)), len(w)) for w in (a, b))
    permuted = plan_of(a[i], b[j], C[np.ix_(i, j)], reg, method)
    assert_same_plan(permuted, plan_of(a, b, C, reg, method)[np.ix_(i, j)])


@given(gentle(), st.floats(-1e3, 1e3))
def test_shifting_the_cost_shifts_the_value(problem, shift):
    a, b, C, reg, method = problem
    r = solve(a, b, C, reg, method=method, tol=1e-12)
    moved = solve(a, b, C + shift, reg, method=method, tol=1e-12)
    assert_same_plan(moved.plan, r.plan)
    assert moved.value == pytest.approx(r.value + shift, abs=1e-9)
    assert moved.lower_bound == pytest.approx(r.lower_bound + shift, abs=1e-9)
    total = np.add.outer(r.f, r.g) + shift
    np.testing.assert_allclose(np.add.outer(moved.f, moved.g), total, rtol=0, atol=1e-7)


@given(gentle(), st.integers(0, 10_000))
def test_row_and_column_shifts_go_into_the_potentials(problem, seed):
    a, b, C, reg, method = problem
    rng = np.random.default_rng(seed)
    alpha, beta = rng.normal(size=len(a)), rng.normal(size=len(b))
    r = solve(a, b, C, reg, method=method, tol=1e-12)
    moved = solve(a, b, C + np.add.outer(alpha, beta), reg, method=method, tol=1e-12)
    assert_same_plan(moved.plan, r.plan)
    expected = centred(r.f + alpha, r.g + beta)
    np.testing.assert_allclose(centred(moved.f, moved.g), expected, rtol=0, atol=1e-6)


@given(gentle(), st.floats(0.1, 0.9))
def test_splitting_a_point_splits_its_row(problem, share):
    a, b, C, reg, method = problem
    split = np.concatenate([[share * a[0], (1 - share) * a[0]], a[1:]])
    P = plan_of(split, b, np.vstack([C[:1], C]), reg, method)
    whole = plan_of(a, b, C, reg, method)
    assert_same_plan(np.vstack([P[:2].sum(0), P[2:]]), whole)
    assert_same_plan(P[0], share * whole[0])


# ---- hostile inputs ---------------------------------------------------------------------------


@st.composite
def hostile(draw):
    """Weights with a feasible support by construction, costs full of ties, any scale."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    size = shape[0] * shape[1]

    def entries(*values):
        chosen = draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))
        return np.reshape(np.array(chosen, float), shape)

    support = entries(0.0, 0.0, 1.0, 1.0, 3.0, 1e-3, 1e-12, 5e-324)
    C = entries(0.0, 1.0, 1.0, 0.5, 1 / 3, -1.0, 1e-8, 1 + 1e-15)
    assume(support.max() >= 1e-12)
    if draw(st.booleans()):
        C[(entries(0.0, 0.0, 1.0) > 0) & (support == 0)] = np.inf
    cost_exponent = draw(st.integers(-300, 300))
    most = (298 - max(cost_exponent, 0)) // 2 - 1  # reg KL(P | ab) holds reg times mass squared
    mass = 10.0 ** draw(st.integers(-300 + abs(cost_exponent), max(most, 0)))
    scale = 10.0**cost_exponent
    reg = scale * 10.0 ** draw(st.floats(-6, 1)) if cost_exponent > -290 else scale
    a, b = mass * support.sum(1), mass * support.sum(0)
    return a, b, scale * C, reg, mass, scale


def check_hostile(a, b, C, reg, scale, method):
    tol = 1e-8
    r = otf.sinkhorn(a, b, C, reg, method=method, tol=tol, max_iter=400, on_fail="ignore")
    finite = [r.plan, r.f, r.g, r.value, r.value_linear, r.dual_value, r.lower_bound, r.upper_bound]
    for value in [*finite, r.marginal_error]:
        assert np.isfinite(value).all()
    assert (r.plan >= 0).all()
    assert not r.plan[np.isinf(C)].any()
    error = marginal_error(r.plan, a, b)
    assert r.marginal_error == pytest.approx(error, rel=1e-6, abs=1e-12)
    assert r.converged == (r.status == otf.Status.CONVERGED) == (r.marginal_error <= tol)
    spread = np.ptp(C[np.isfinite(C)], axis=None) if np.isfinite(C).any() else 0.0
    bound = 1e-11 + 64 * np.finfo(float).eps * (spread / reg)
    assert gibbs_defect(r.plan, a, b, C, reg) <= bound
    return r


@pytest.mark.parametrize("method", METHODS)
@given(problem=hostile())
def test_hostile_input_is_accurate_or_flagged(method, problem):
    a, b, C, reg, mass, scale = problem
    r = check_hostile(a, b, C, reg, scale, method)
    weight, cost = a.sum() / mass, C / scale
    exact = exact_ot(a / mass, b / mass, cost)
    slack = 1e-7 * weight * max(1.0, abs(cost[np.isfinite(cost)]).max(initial=0.0))
    assert r.lower_bound / scale / mass <= exact + slack
    assert r.upper_bound / scale / mass >= exact - slack


HOSTILE = {
    "spread beyond the largest double": ([1, 1], [1, 1], [[-1.7e308, 1.7e308], [1e308, 0]], 1e306),
    "all denormal": ([1, 1], [1, 1], [[0, 5e-324], [2e-323, 1e-323]], 5e-324),
    "one entry at 1e300": ([1, 1], [1, 1], [[0, 1e300], [1, 0]], 0.1),
    "constant cost": ([1, 2, 3], [2, 2, 2], np.full((3, 3), 1e9), 1e-6),
    "all pairs forbidden but one a row": ([1, 2], [1, 2], [[0, np.inf], [np.inf, 5]], 1e-3),
    "weights 1e-300 beside 1": ([1, 1e-300], [1e-300, 1], [[0, 1], [1, 0]], 0.01),
    "denormal weights": ([5e-324, 1e-323], [1e-323, 5e-324], [[0, 1], [1, 0]], 0.5),
    "mass near overflow": ([8e307, 8e307], [8e307, 8e307], [[0, 1], [1, 0]], 0.5),
    "reg far below the cost": ([1, 1], [1, 1], [[0, 1], [1, 3]], 1e-200),
    "reg far above the cost": ([1, 1], [1, 1], [[0, 1], [1, 0]], 1e300),
    "reg far above a denormal cost": ([1, 1], [1, 1], [[0, 5e-324], [1e-310, 0]], 1.0),
}


@methods
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_extremes(method, case):
    a, b, C, reg = HOSTILE[case]
    a, b, C = (np.array(v, float) for v in (a, b, C))
    r = otf.sinkhorn(a, b, C, reg, method=method, max_iter=200, on_fail="ignore")
    for value in (r.plan, r.f, r.g, r.value_linear, r.lower_bound, r.upper_bound):
        assert np.isfinite(value).all()
    assert not np.isnan([r.value, r.dual_value]).any()
    assert r.marginal_error == pytest.approx(marginal_error(r.plan, a, b), abs=1e-12)
    assert r.converged == (r.status == otf.Status.CONVERGED)


@methods
@pytest.mark.parametrize("constant", [0.0, -3.0, 1e9])
@pytest.mark.parametrize("reg", [1e-9, 1.0])
def test_constant_cost_gives_the_product_plan(method, constant, reg):
    a, b, _ = random_problem(5, 7)
    r = solve(a, b, np.full((5, 7), constant), reg, method=method)
    np.testing.assert_allclose(r.plan, np.outer(a, b), rtol=1e-12)
    assert r.value == pytest.approx(constant, rel=1e-12, abs=1e-12)


# ---- warm starts and callbacks ----------------------------------------------------------------


@methods
@pytest.mark.parametrize("kind", ["result", "pair", "only f", "only g", "other reg"])
def test_warm_start(method, kind):
    a, b, C = random_problem(40, 50, seed=12)
    cold = solve(a, b, C, 0.02, method=method)
    near = solve(a, b, C, 0.0201, method=method) if kind == "other reg" else cold
    init = {
        "pair": (cold.f, cold.g),
        "only f": (cold.f, None),
        "only g": (None, cold.g),
    }.get(kind, near)
    warm = solve(a, b, C, 0.02, method=method, init=init)
    assert_optimal(warm, a, b, C, 0.02, 1e-9)
    assert warm.n_iter < cold.n_iter
    if kind != "other reg":
        assert warm.n_iter <= 4


def test_warm_start_with_no_iterations_returns_that_plan():
    a, b, C = random_problem(10, 14, seed=13)
    cold = solve(a, b, C, 0.1)
    warm = otf.sinkhorn(a, b, C, 0.1, init=cold, max_iter=0, on_fail="ignore")
    np.testing.assert_allclose(warm.plan, cold.plan, rtol=0, atol=1e-9)
    for ours, theirs in [(warm.f, cold.f), (warm.g, cold.g)]:
        assert not np.shares_memory(ours, theirs)


@methods
def test_callback_sees_every_pass(method):
    a, b, C = random_problem(30, 40, seed=14)
    seen = []
    r = solve(a, b, C, 0.05, method=method, callback=seen.append)
    assert len(seen) >= 2
    for info in seen:
        assert set(info) == {"n_iter", "reg", "error", "dual_value", "elapsed"}
    for name in ("n_iter", "elapsed"):
        assert (np.diff([info[name] for info in seen]) >= 0).all()
    np.testing.assert_array_equal([info["n_iter"] for info in seen], r.history["n_iter"])
    np.testing.assert_array_equal([info["error"] for info in seen], r.history["error"])
    silent = solve(a, b, C, 0.05, method=method)
    np.testing.assert_array_equal(r.plan, silent.plan)


@methods
@pytest.mark.parametrize("error", [KeyError("mine"), KeyboardInterrupt(), StopIteration("stop")])
def test_exception_in_callback_propagates(method, error):
    a, b, C = random_problem(30, 40, seed=15)
    calls = []

    def callback(info):
        calls.append(info)
        if len(calls) == 2:
            raise error

    with pytest.raises(type(error)) as caught:
        solve(a, b, C, 0.05, method=method, callback=callback)
    assert caught.value is error
    assert len(calls) == 2
    assert_optimal(solve(a, b, C, 0.05, method=method), a, b, C, 0.05, 1e-9)


def test_potentials_beyond_float32_are_float64():
    n, c = 12, 2e38
    C = np.full((n, n), np.inf, np.float32)
    np.fill_diagonal(C, 0)
    np.fill_diagonal(C[1:], c)  # a staircase: every step raises f by c
    a, b = np.full(n, 2.0), np.full(n, 2.0)
    a[0] = b[-1] = 1
    r = otf.sinkhorn(a, b, C, 1e-3 * c)
    assert r.converged
    assert r.f.dtype == r.g.dtype == np.float64
    np.testing.assert_allclose(np.diff(r.f), c, rtol=1e-2)
    assert otf.sinkhorn(a, b, C, 1e-3 * c, init=r).converged
