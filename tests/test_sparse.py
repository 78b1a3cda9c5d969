"""Quadratic and sparsity-constrained transport: closed forms, optimality, other solvers."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import COSTS, clouds, exact_ot, marginal_error, pairwise, random_problem, spec
from scipy import optimize, sparse

import ot_fast as otf


def gaussians(n, m=None, seed=0):
    x, y = clouds(n, m or n, 2, seed)
    C = pairwise(x, y, "sqeuclidean")
    return C / C.max()


def objective(P, C, reg):
    P, C = np.asarray(P, np.longdouble), np.asarray(C, np.longdouble)
    return float((P * np.where(P > 0, C, 0)).sum() + reg * (P * P).sum() / 2)


def quadratic_dual(f, g, a, b, C, reg):
    f, g, C = (np.asarray(v, np.longdouble) for v in (f, g, C))
    slack = np.maximum(f[:, None] + g - C, 0)
    return float(a @ f + b @ g - (slack**2).sum() / (2 * reg))


def bounded_dual(f, g, a, b, C, reg, k):
    """The dual of at most k entries a column, by sorting."""
    f, g, C = (np.asarray(v, np.longdouble) for v in (f, g, C))
    top = np.sort(np.maximum(f[:, None] + g - C, 0), axis=0)[-k:]
    return float(a @ f + b @ g - (top**2).sum() / (2 * reg))


def column_counts(P):
    return (np.asarray(P) > 0).sum(axis=0)


# ---- quadratic --------------------------------------------------------------------------------


@pytest.mark.parametrize("reg", [1e-3, 1e-1, 1.0, 1e2, 1e4])
@pytest.mark.parametrize("shape", [(30, 30), (1, 6), (6, 1), (20, 45), (45, 20)])
def test_quadratic_satisfies_its_optimality_conditions(shape, reg):
    a, b, C = random_problem(*shape, seed=1)
    r = otf.quadratic(a, b, C, reg)
    P = r.plan
    assert r.converged, r.message
    assert marginal_error(P, a, b) <= 1e-9 * (1 + 1e-6)
    f, g = (np.asarray(v, np.longdouble) for v in r.potentials)
    stationary = np.maximum(f[:, None] + g - C, 0) / np.longdouble(reg)
    assert abs(stationary - P).max() <= 1e-12 + 4e-16 * shape[0] * shape[1] / reg
    assert r.value == pytest.approx(objective(P, C, reg), rel=1e-13)
    assert r.dual_value == pytest.approx(quadratic_dual(f, g, a, b, C, reg), rel=1e-9, abs=1e-10)
    assert abs(r.gap) <= 1e-8 * max(1, abs(r.value))


def test_quadratic_at_large_reg_is_the_projected_cost():
    # Where all entries are positive, P = ab' - (C doubly centred)/reg for uniform a and b.
    rng = np.random.default_rng(0)
    n, m, reg = 7, 5, 1e3
    C = rng.random((n, m))
    centred = C - C.mean(0) - C.mean(1)[:, None] + C.mean()
    r = otf.quadratic(None, None, C, reg, tol=1e-13)
    np.testing.assert_allclose(r.plan, 1 / (n * m) - centred / reg, rtol=1e-10)


def test_quadratic_two_by_two():
    # P = [[p, a-p], [b-p, 1-a-b+p]] with 4 reg p' = -(c11 + c22 - c12 - c21) + ..., clipped.
    a, b, reg = 0.4, 0.7, 0.5
    for c in (-3.0, -0.2, 0.0, 0.1, 0.3, 3.0):
        cost = np.array([[0.0, 0.0], [0.0, c]])

        def value(p, c=c):
            P = np.array([p, a - p, b - p, 1 - a - b + p])
            return c * P[3] + reg / 2 * P @ P

        free = (a + b - (1 - a - b) - c / reg) / 4
        p = float(np.clip(free, max(0, a + b - 1), min(a, b)))
        r = otf.quadratic([a, 1 - a], [b, 1 - b], cost, reg, tol=1e-12)
        assert r.plan[0, 0] == pytest.approx(p, abs=1e-10)
        assert r.value == pytest.approx(value(p), abs=1e-10)


def test_quadratic_matches_a_general_solver():
    a, b, C = random_problem(4, 5, seed=2)
    reg = 0.3
    A = np.vstack([np.kron(np.eye(4), np.ones(5)), np.kron(np.ones(4), np.eye(5))[:-1]])
    answer = optimize.minimize(
        lambda p: C.ravel() @ p + reg / 2 * p @ p,
        np.outer(a, b).ravel(),
        jac=lambda p: C.ravel() + reg * p,
        bounds=[(0, None)] * 20,
        constraints={"type": "eq", "fun": lambda p: A @ p - np.r_[a, b[:-1]], "jac": lambda p: A},
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 500},
    )
    r = otf.quadratic(a, b, C, reg)
    assert r.value == pytest.approx(answer.fun, abs=1e-9)
    np.testing.assert_allclose(r.plan.ravel(), answer.x, atol=1e-6)


def test_quadratic_matches_pot():
    ot = pytest.importorskip("ot")
    a, b, C = random_problem(25, 30, seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SciPy, about an option that POT sets
        P = ot.smooth.smooth_ot_dual(a, b, C, 0.5, reg_type="l2", stopThr=1e-12, numItermax=20_000)
    r = otf.quadratic(a, b, C, 0.5)
    np.testing.assert_allclose(r.plan, P, atol=2e-5)
    assert r.value <= objective(P, C, 0.5) + 1e-6


def test_quadratic_matches_regot():
    regot = pytest.importorskip("regot")
    a, b, C = random_problem(60, 60, seed=4)
    r = otf.quadratic(a, b, C, 0.1)
    P = regot.qrot_grssn(np.asfortranarray(C), a, b, 0.1, tol=1e-9, max_iter=5000).plan
    assert marginal_error(P, a, b) <= 1e-6
    np.testing.assert_allclose(r.plan, P, atol=1e-6)
    assert r.value == pytest.approx(objective(P, C, 0.1), abs=1e-8)


@pytest.mark.parametrize("reg", [1e-2, 1e1, 1e4])
def test_quadratic_tends_to_the_exact_value(reg):
    a, b, C = random_problem(20, 20, seed=4)
    r = otf.quadratic(a, b, C, reg)
    exact = exact_ot(a, b, C)
    assert exact - 1e-9 <= r.value_linear
    assert r.dual_value <= exact + reg / 2 + 1e-9


@pytest.mark.parametrize("reg", [1e-6, 1e-7, 1e-9, 1e-12])
@pytest.mark.parametrize(("n", "seed"), [(40, 0), (8, 7), (30, 4), (60, 8)])
def test_quadratic_at_tiny_reg_is_exact_transport(n, seed, reg):
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n))
    C = rng.random((n, n))
    r = otf.quadratic(a, b, C, reg)
    assert r.converged, r.message
    assert marginal_error(r.plan, a, b) <= 1e-9 * (1 + 1e-6)
    exact = exact_ot(a, b, C)
    assert abs((r.plan * C).sum() - exact) <= reg / 2 + 1e-8
    assert r.dual_value <= exact + reg / 2 + 1e-8
    assert r.gap <= reg + 1e-8


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 3, 9])
def test_points_and_their_matrix_give_the_same(cost, d):
    x, y = clouds(40, 33, d, seed=5)
    C = pairwise(x, y, cost)
    geometry = otf.PointCloud(x, y, **spec(cost))
    for solve in (otf.quadratic, lambda *p: otf.sparsity_constrained(*p, 3)):
        r, s = solve(None, None, geometry, 2.0), solve(None, None, C, 2.0)
        assert r.converged
        assert r.dual_value == pytest.approx(s.dual_value, rel=1e-6)
        assert r.value == pytest.approx(objective(r.plan, C, 2.0), rel=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_orders_and_types(order, dtype):
    a, b, C = random_problem(24, 31, seed=6)
    C = C.astype(dtype).astype(float)
    given_cost = np.asarray(C, dtype, order=order)
    for solve in (otf.quadratic, lambda *p: otf.sparsity_constrained(*p, 6)):
        r, want = solve(a, b, given_cost, 0.5), solve(a, b, C, 0.5)
        assert r.converged
        assert r.plan.dtype == r.f.dtype == dtype
        assert marginal_error(r.plan, a, b) <= r.tol
        assert r.dual_value == pytest.approx(want.dual_value, rel=1e-5)


def test_zero_weights_and_forbidden_pairs():
    a, b, C = random_problem(20, 25, seed=7)
    a[[3, 8]] = 0
    b[[0, 24]] = 0
    a, b = a / a.sum(), b / b.sum()
    C[5, 2:20] = np.inf
    for r in (otf.quadratic(a, b, C, 0.2), otf.sparsity_constrained(a, b, C, 0.2, 8)):
        assert r.converged
        P = r.plan
        assert not P[[3, 8]].any()
        assert not P[:, [0, 24]].any()
        assert not P[5, 2:20].any()
        assert np.isfinite(r.f).all()
        assert np.isfinite(r.g).all()
        with np.errstate(invalid="ignore"):
            slack = r.f[:, None] + r.g - C
        assert slack[[3, 8]].max() <= 1e-9
        assert slack[:, [0, 24]].max() <= 1e-9


def test_no_feasible_plan_of_forbidden_pairs():
    C = np.ones((3, 3))
    C[:2, 1:] = np.inf  # two rows, one column
    with pytest.raises(otf.InfeasibleError, match="can carry only"):
        otf.quadratic(None, None, C, 1.0)


@given(k=st.integers(-30, 30), seed=st.integers(0, 50))
def test_scale_laws(k, seed):
    a, b, C = random_problem(9, 11, seed)
    s = 2.0**k
    r = otf.quadratic(a, b, C, 0.5)
    scaled = otf.quadratic(a, b, C * s, 0.5 * s)
    np.testing.assert_allclose(scaled.plan, r.plan, atol=1e-9)
    assert scaled.value == pytest.approx(s * r.value, rel=1e-8)
    heavy = otf.quadratic(a * s, b * s, C, 0.5 / s)
    np.testing.assert_allclose(heavy.plan / s, r.plan, atol=1e-9)


@given(seed=st.integers(0, 200), reg=st.sampled_from([1e-2, 1.0, 30.0]))
def test_symmetries(seed, reg):
    a, b, C = random_problem(8, 13, seed)
    r = otf.quadratic(a, b, C, reg)
    np.testing.assert_allclose(otf.quadratic(b, a, C.T, reg).plan.T, r.plan, atol=2e-9)
    np.testing.assert_allclose(otf.quadratic(a, b, C + 5, reg).plan, r.plan, atol=2e-9)
    rows = np.random.default_rng(seed).permutation(8)
    np.testing.assert_allclose(
        otf.quadratic(a[rows], b, C[rows], reg).plan, r.plan[rows], atol=2e-9
    )


def test_warm_start_and_path():
    C = gaussians(150)
    r = otf.quadratic(None, None, C, 0.1)
    again = otf.quadratic(None, None, C, 0.1, init=r)
    assert again.converged
    assert again.n_iter < r.n_iter
    np.testing.assert_allclose(again.plan, r.plan, atol=1e-8)
    near = otf.quadratic(None, None, C, 0.09, init=(r.f, r.g))
    assert near.converged
    entropic = otf.sinkhorn(None, None, C, 1e-3)
    assert otf.quadratic(None, None, C, 0.1, init=entropic).converged


def line_costs(rng, n, m):
    return np.abs(rng.random(n)[:, None] - rng.random(m))


def grid_costs(_rng, n, m):
    side = int(np.sqrt(n))
    x, y = (np.stack(np.divmod(np.arange(k), side), 1) for k in (n, m))
    return np.abs(x[:, None] - y).sum(-1).astype(float)


@pytest.mark.parametrize("reg", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("costs", [line_costs, grid_costs])
def test_quadratic_of_tied_costs(costs, uneven, reg):
    """Tied costs: exact transport has many plans."""
    rng = np.random.default_rng(480 + uneven)
    n, m = 480, 251
    a, b = np.full(n, 1 / n), np.full(m, 1 / m)
    if uneven:
        a, b = rng.dirichlet(np.full(n, 3.0)), rng.dirichlet(np.full(m, 3.0))
    C = costs(rng, n, m)
    C /= C.max()
    r = otf.quadratic(a, b, C, reg)
    assert r.converged, r.message
    assert marginal_error(r.plan, a, b) <= 1e-9 * (1 + 1e-6)
    gap = objective(r.plan, C, reg) - quadratic_dual(r.f, r.g, a, b, C, reg)
    assert abs(gap) <= 1e-8 * r.value
    slack = np.maximum(r.f[:, None] + r.g - C, 0)
    np.testing.assert_allclose(r.plan, slack / reg, atol=1e-8)


# ---- at most k entries a column ----------------------------------------------------------------


def router(experts, tokens, seed=0):
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(experts, 16))
    topic = rng.choice(experts, tokens, p=rng.dirichlet(np.ones(experts)))
    logits = keys @ (keys[topic] + 0.8 * rng.normal(size=(tokens, 16))).T / 2
    p = np.exp(logits - logits.max(0))
    return -p / p.sum(0)


@pytest.mark.parametrize("formulation", ["semi_dual", "dual"])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_many_columns_of_few_rows(k, formulation):
    """Columns of many tied entries, whose candidates are left out one after the other."""
    n, m = 48, 2400
    C, a, b = router(n, m), np.full(n, 1 / n), np.full(m, 1 / m)
    reg = 0.1 * m
    r = otf.sparsity_constrained(a, b, C, reg, k, formulation=formulation)
    assert r.converged, r.message
    assert column_counts(r.plan).max() <= k
    assert marginal_error(r.plan, a, b) <= 1e-9 * (1 + 1e-6)
    assert r.dual_value == pytest.approx(bounded_dual(r.f, r.g, a, b, C, reg, k), rel=1e-10)
    assert -1e-10 <= r.gap <= 2e-3 * abs(r.value)
    # Far from the end the dual is that of all entries, too.
    for most in range(24, r.n_iter):
        early = otf.sparsity_constrained(
            a, b, C, reg, k, formulation=formulation, max_iter=most, on_fail="ignore"
        )
        dual = bounded_dual(early.f, early.g, a, b, C, reg, k)
        assert early.dual_value == pytest.approx(dual, rel=1e-10)
        assert early.dual_value <= r.value + 1e-10


@pytest.mark.parametrize("k", [1, 2, 3, 4, 8])
def test_cardinality_marginals_and_bound(k):
    n = 120
    C, a = gaussians(n), np.full(n, 1 / n)
    r = otf.sparsity_constrained(None, None, C, 0.1, k)
    assert r.converged, r.message
    assert column_counts(r.plan).max() <= k
    assert r.cardinality == column_counts(r.plan).max()
    assert marginal_error(r.plan, a, a) <= 1e-9 * (1 + 1e-6)
    assert r.value == pytest.approx(objective(r.plan, C, 0.1), rel=1e-12)
    assert r.dual_value <= r.value + 1e-10
    assert r.dual_value == pytest.approx(bounded_dual(r.f, r.g, a, a, C, 0.1, k), abs=1e-9)


def test_dual_value_does_not_increase_with_k():
    C = gaussians(80, 60, seed=1)
    results = [otf.sparsity_constrained(None, None, C, 0.5, k) for k in (2, 3, 4, 6, 10, 80)]
    duals = np.array([r.dual_value for r in results])
    assert (np.diff(duals) <= 1e-7 * duals[0]).all()
    values = np.array([r.value for r in results])
    assert (duals[1:] <= values[:-1] + 1e-10).all()  # fewer entries are allowed there too


def test_all_entries_allowed_is_quadratic():
    a, b, C = random_problem(30, 40, seed=8)
    r, q = otf.sparsity_constrained(a, b, C, 0.3, 30), otf.quadratic(a, b, C, 0.3)
    np.testing.assert_allclose(r.plan, q.plan, atol=1e-8)
    assert r.dual_value == pytest.approx(q.dual_value, abs=1e-8)


def test_one_entry_is_unregularised_transport():
    n, reg = 90, 0.1
    C = gaussians(n, seed=2)
    r = otf.sparsity_constrained(None, None, C, reg, 1)
    i, j = optimize.linear_sum_assignment(C)
    exact = C[i, j].mean() + reg / 2 / n
    assert r.dual_value == pytest.approx(exact, abs=1e-6)
    assert r.value == pytest.approx(exact, abs=1e-6)
    assert column_counts(r.plan).max() == 1


def test_small_problem_against_all_supports():
    """The best of all supports, each solved as a quadratic problem with the others forbidden."""
    from itertools import combinations, product

    rng = np.random.default_rng(3)
    C, reg, k = rng.random((4, 3)), 2.0, 2
    a, b = np.full(4, 1 / 4), np.full(3, 1 / 3)
    best = np.inf
    for supports in product(combinations(range(4), k), repeat=3):
        on = np.full((4, 3), np.inf)
        for j, rows in enumerate(supports):
            on[list(rows), j] = C[list(rows), j]
        try:
            q = otf.quadratic(a, b, on, reg, on_fail="ignore", max_iter=400)
        except otf.InfeasibleError:
            continue
        if q.converged:
            best = min(best, q.value)
    r = otf.sparsity_constrained(None, None, C, reg, k)
    assert r.converged
    assert r.dual_value <= best + 1e-9
    assert best - 1e-8 <= r.value <= best * 1.2


def test_dual_value_beats_pot():
    ot = pytest.importorskip("ot")
    n, k, reg = 60, 2, 0.1
    C, a = gaussians(n, seed=4), np.full(n, 1 / n)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _, log = ot.smooth.smooth_ot_dual(
            a, a, C, reg, reg_type="sparsity_constrained", max_nz=k, log=True
        )
    theirs = bounded_dual(log["alpha"], log["beta"], a, a, C, reg, k)
    for formulation in ("semi_dual", "dual"):
        r = otf.sparsity_constrained(None, None, C, reg, k, formulation=formulation)
        assert r.dual_value >= theirs - 1e-9
        assert r.dual_value == pytest.approx(bounded_dual(r.f, r.g, a, a, C, reg, k), abs=1e-10)


def test_semi_dual_bounds_more_tightly():
    C = gaussians(70, seed=5)
    semi, dual = (
        otf.sparsity_constrained(None, None, C, 0.3, 2, formulation=f)
        for f in ("semi_dual", "dual")
    )
    assert semi.dual_value >= dual.dual_value - 1e-12
    assert semi.method == "semi_dual"
    assert dual.method == "dual"


def test_rows_instead_of_columns():
    C = gaussians(50, 70, seed=6)
    r = otf.sparsity_constrained(None, None, C, 0.5, 3, axis=1)
    t = otf.sparsity_constrained(None, None, C.T, 0.5, 3)
    assert column_counts(r.plan.T).max() <= 3
    assert r.axis == 1
    assert r.dual_value == pytest.approx(t.dual_value, rel=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_uneven_masses_get_a_plan(seed):
    a, b, C = random_problem(40, 40, seed=seed)
    r = otf.sparsity_constrained(a, b, C, 0.5, 5)
    assert r.converged
    assert column_counts(r.plan).max() <= 5
    assert marginal_error(r.plan, a, b) <= 1e-9 * (1 + 1e-6)


def best_support(a, b, C, reg, k):
    """A lower bound of the least value, tight to 1e-3, from a mixed-integer program.

    The quadratic term is replaced by tangents.
    """
    n, m = C.shape
    N, most = n * m, np.minimum.outer(a, b).ravel()
    eye, none = sparse.identity(N), sparse.csr_array((N, N))
    rows = sparse.kron(sparse.identity(n), np.ones((1, m)))
    cols = sparse.kron(np.ones((1, n)), sparse.identity(m))
    blank = sparse.csr_array((n, N)), sparse.csr_array((m, N))
    bounds = [
        optimize.LinearConstraint(sparse.hstack([rows, blank[0], blank[0]]), a, a),
        optimize.LinearConstraint(sparse.hstack([cols, blank[1], blank[1]]), b, b),
        optimize.LinearConstraint(sparse.hstack([eye, -sparse.diags_array(most), none]), ub=0),
        optimize.LinearConstraint(sparse.hstack([blank[1], cols, blank[1]]), ub=k),
    ]
    for t in np.linspace(0, 1, 13)[1:, None] * most:
        tangent = [sparse.diags_array(reg * t), -sparse.diags_array(reg / 2 * t * t), -eye]
        bounds.append(optimize.LinearConstraint(sparse.hstack(tangent), ub=0))
    answer = optimize.milp(
        np.r_[C.ravel(), np.zeros(N), np.ones(N)],
        constraints=bounds,
        integrality=np.r_[np.zeros(N), np.ones(N), np.zeros(N)],
        bounds=optimize.Bounds(0, np.r_[most, np.ones(N), np.full(N, np.inf)]),
        options={"mip_rel_gap": 1e-4},
    )
    assert answer.status == 0, answer.message
    return answer.mip_dual_bound


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [2, 3])
def test_uneven_masses_against_the_best_support(k, seed):
    a, b, C = random_problem(6, 6, seed)
    best = best_support(a, b, C, 0.1, k)
    r = otf.sparsity_constrained(a, b, C, 0.1, k)
    assert r.converged
    assert column_counts(r.plan).max() <= k
    assert marginal_error(r.plan, a, b) <= 1e-9 * (1 + 1e-6)
    assert r.dual_value <= best * (1 + 1e-3)
    assert best * (1 - 1e-9) <= r.value <= best * 1.05


@pytest.mark.parametrize(("n", "k", "wide"), [(50, 4, 0.3), (100, 4, 0.1), (100, 8, 0.01)])
def test_uneven_masses_cost_little(n, k, wide):
    x, y = clouds(n, n, 2, seed=0)
    C = pairwise(x, y, "sqeuclidean")
    a, b, _ = random_problem(n, n, seed=1)
    r = otf.sparsity_constrained(a, b, C / C.max(), 0.1, k)
    assert r.converged
    assert column_counts(r.plan).max() <= k
    assert marginal_error(r.plan, a, b) <= 1e-9 * (1 + 1e-6)
    assert r.value <= exact_ot(a, b, C / C.max()) * (1 + wide) + 0.05 * (r.plan**2).sum()


@pytest.mark.parametrize("kind", [int, np.int8, np.int64, np.uint16])
def test_any_integer(kind):
    r = otf.sparsity_constrained(None, None, gaussians(12), 0.5, kind(2))
    assert r.max_nz == 2


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_nz": 2.0}, TypeError, "max_nz must be an integer"),
        ({"max_nz": True}, TypeError, "max_nz must be an integer"),
        ({"max_nz": 0}, ValueError, "max_nz must be an integer >= 1; got 0"),
        ({"max_nz": 13}, ValueError, "max_nz must be at most 12"),
        ({"axis": 2}, ValueError, "axis must be 0"),
        ({"axis": True}, ValueError, "axis must be 0"),
        ({"formulation": "primal"}, ValueError, "formulation must be one of"),
        ({"reg": 0}, ValueError, "reg must be a finite real number > 0"),
        ({"tol": -1}, ValueError, "tol must be"),
        ({"init": 3}, TypeError, "init must be"),
        ({"init": (np.zeros(11), np.zeros(12))}, ValueError, r"init f must have shape \(12,\)"),
        ({"init": (np.zeros(12), np.full(12, np.nan))}, ValueError, r"g\[0\] = nan"),
        ({"callback": 1}, TypeError, "callback must be callable"),
        ({"on_fail": "explode"}, ValueError, "on_fail must be one of"),
    ],
)
def test_bad_arguments(options, error, text):
    given_options = {"reg": 0.5, "max_nz": 2} | options
    with pytest.raises(error, match=text):
        otf.sparsity_constrained(None, None, gaussians(12), **given_options)


def test_too_few_entries_is_proved():
    C = np.random.default_rng(0).random((10, 3))
    with pytest.raises(otf.InfeasibleError, match="raise max_nz to at least 4"):
        otf.sparsity_constrained(None, None, C, 1.0, 3)
    b = np.array([0.8, 0.1, 0.1])
    with pytest.raises(otf.InfeasibleError, match=r"heaviest columns hold 0\.8"):
        otf.sparsity_constrained(None, b, C, 1.0, 4)
    with pytest.raises(otf.InfeasibleError, match="lighter than every column"):
        otf.sparsity_constrained([0.9, 0.1], [0.5, 0.5], np.ones((2, 2)), 1.0, 1)


def test_not_found_is_not_called_impossible():
    # Each column must lie in one row: 0.31 + 0.31 + 0.38 in 0.5 + 0.5 does not go.
    b = [0.31, 0.31, 0.38]
    with pytest.warns(otf.ConvergenceWarning, match="none was proved not to exist"):
        r = otf.sparsity_constrained([0.5, 0.5], b, np.ones((2, 3)), 1.0, 1)
    assert not r.converged
    assert r.status == otf.Status.STALLED
    with pytest.raises(otf.ConvergenceError):
        otf.sparsity_constrained([0.5, 0.5], b, np.ones((2, 3)), 1.0, 1, on_fail="raise")


def test_a_wide_gap_is_named():
    a, b, C = random_problem(60, 60, seed=1)
    r = otf.sparsity_constrained(a, b, C, 0.5, 2, on_fail="ignore")
    wide = r.converged and r.gap > 0.01 * abs(r.value)
    assert ("see gap" in r.message) == wide
    r = otf.sparsity_constrained(None, None, gaussians(30), 0.1, 4)
    assert r.gap <= 0.01 * r.value
    assert "gap" not in r.message


def test_exact_fit():
    """As many entries as rows: every row whole in one column."""
    rng = np.random.default_rng(1)
    C = rng.random((60, 6))
    r = otf.sparsity_constrained(np.ones(60), np.full(6, 10.0), C, 1.0, 10)
    P = r.plan
    assert r.converged
    assert (P > 0).sum() == 60
    np.testing.assert_allclose(P[P > 0], 1, rtol=1e-9)
    i, j = optimize.linear_sum_assignment(np.repeat(C, 10, axis=1))
    assert r.value_linear <= 1.2 * np.repeat(C, 10, axis=1)[i, j].sum()


def test_result():
    pytest.importorskip("matplotlib").use("Agg")
    C = gaussians(40)
    seen = []
    r = otf.sparsity_constrained(None, None, C, 0.5, 2, callback=seen.append)
    assert len(seen) == len(r.history["n_iter"]) > 0
    assert set(seen[0]) == set(r.history)
    text = repr(r)
    assert "at most 2 allowed" in text
    assert "gap" in text
    assert r.sparse_plan.nnz == np.count_nonzero(r.plan)
    assert np.array_equal(r.sparse_plan.toarray(), r.plan)
    figure = r.plot()
    assert len(figure.axes) == 2
    otf.quadratic(None, None, C, 0.5).plot()


@pytest.mark.parametrize("power", [-900, -600, -350, 350, 600, 900])
@pytest.mark.parametrize("cloud", [False, True])
def test_costs_whose_squares_leave_float64(power, cloud):
    # (C, reg) times a power of two is the same problem, though squares of costs over- or underflow.
    x, y = clouds(12, 15, 2, 3)
    C = otf.PointCloud(x, y) if cloud else pairwise(x, y, "sqeuclidean")
    half = power // 2
    S = otf.PointCloud(np.ldexp(x, half), np.ldexp(y, half)) if cloud else np.ldexp(C, 2 * half)
    for solve in (otf.quadratic, lambda *p: otf.sparsity_constrained(*p, 2)):
        r, s = solve(None, None, C, 0.5), solve(None, None, S, float(np.ldexp(0.5, 2 * half)))
        assert s.converged
        np.testing.assert_allclose(s.plan, r.plan, rtol=0, atol=1e-9)
        got = np.ldexp([s.value, s.dual_value], -2 * half)
        np.testing.assert_allclose(got, [r.value, r.dual_value], rtol=1e-6)


@pytest.mark.parametrize("mass", [1e-90, 1e-40, 1e40, 1e90])
def test_masses_beyond_float32_with_float32_costs(mass):
    a, b, C = random_problem(12, 15, seed=4)
    C = C.astype(np.float32)
    solves = {
        "quadratic": lambda w, reg: otf.quadratic(w * a, w * b, C, reg),
        "bounded": lambda w, reg: otf.sparsity_constrained(w * a, w * b, C, reg, 6),
        "sinkhorn": lambda w, reg: otf.sinkhorn(w * a, w * b, C, 0.1),
    }
    for solve in solves.values():
        r, s = solve(1.0, 0.5), solve(mass, 0.5 / mass)
        assert s.converged
        assert marginal_error(np.asarray(s.plan, np.float64) / mass, a, b) <= 2e-6
        np.testing.assert_allclose(np.asarray(s.plan, np.float64) / mass, r.plan, atol=1e-5)


@pytest.mark.parametrize("limits", [{"max_iter": 0}, {"max_iter": 3}, {"time_limit": 1e-9}])
def test_limits(limits):
    C = gaussians(100)
    for solve in (otf.quadratic, lambda *p, **q: otf.sparsity_constrained(*p, 2, **q)):
        r = solve(None, None, C, 0.01, on_fail="ignore", **limits)
        assert np.isfinite(r.plan).all()
        if not r.converged:
            assert r.status in (otf.Status.MAX_ITER, otf.Status.TIME_LIMIT)


def test_callback_may_end_the_solve():
    class Enough(Exception):
        pass

    def stop(_line):
        raise Enough

    with pytest.raises(Enough):
        otf.quadratic(None, None, gaussians(50), 0.1, callback=stop)


def test_no_entry_is_allowed_to_the_plan_at_first() -> None:
    """An infeasible problem, in which no candidate is left at some reg, is an error."""
    C = [[0.71, np.inf, 0.83], [np.inf, 0.43, np.inf]]
    with pytest.raises(otf.InfeasibleError):
        otf.quadratic([0.018, 0.982], [0.56, 0.363, 0.077], C, 1e-7)


def test_exchanges_end_where_masses_are_integers() -> None:
    """A pivot is accepted by the value of its plan, not by the predicted gain."""
    rng = np.random.default_rng(88)
    n, m = rng.integers(4, 20, 2)
    k = int(rng.integers(1, 3))
    a, b = (rng.multinomial(3 * max(n, m), np.ones(s) / s).astype(float) for s in (n, m))
    C = rng.integers(0, 5, (n, m)).astype(float)
    r = otf.sparsity_constrained(a, b, C, 1e-6, k, on_fail="ignore", time_limit=60.0)
    assert "time" not in r.status
    assert r.cardinality <= k


@pytest.mark.parametrize("formulation", ["semi_dual", "dual"])
def test_dual_with_masses_below_rounding(formulation: str) -> None:
    """reg b_j is lost beside the potentials; the dual stays finite and below the value."""
    rng = np.random.default_rng(5)
    a, b = rng.dirichlet(np.ones(9)), np.r_[rng.dirichlet(np.ones(6)), 1e-20]
    C = rng.random((9, 7))
    r = otf.sparsity_constrained(a, b, C, 1e-6, 3, formulation=formulation, on_fail="ignore")
    assert np.isfinite(r.dual_value)
    assert r.dual_value <= r.value + 1e-12


@pytest.mark.parametrize("max_iter", [0, 1, 10, 30])
def test_dual_of_a_solve_stopped_early_is_a_bound(max_iter: int) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n, m = rng.integers(5, 40, 2)
        C = 10.0 ** rng.uniform(-4, 4, (n, m))
        a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
        reg = np.ptp(C) * 10.0 ** rng.uniform(-6, 3)
        best = otf.quadratic(a, b, C, reg).value
        early = otf.quadratic(a, b, C, reg, max_iter=max_iter, on_fail="ignore")
        assert early.dual_value <= best * (1 + 1e-9)
        early = otf.sparsity_constrained(a, b, C, reg, n, max_iter=max_iter, on_fail="ignore")
        assert early.dual_value <= best * (1 + 1e-9)


@pytest.mark.parametrize("seed", [0, 252, 282])
def test_dual_of_a_solve_without_time_is_that_of_its_potentials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = rng.integers(5, 60, 2)
    C = ((rng.normal(size=(n, 1, 2)) - rng.normal(size=(m, 2))) ** 2).sum(-1)
    a, b = (rng.multinomial(60, np.ones(s) / s) / 60 for s in (n, m))
    reg = np.ptp(C) * 10.0 ** rng.uniform(0, 4)
    r = otf.quadratic(a, b, C, reg, max_iter=0, on_fail="ignore")
    i, j = a > 0, b > 0
    dual = quadratic_dual(r.f[i], r.g[j], a[i], b[j], C[i][:, j], reg)
    assert r.dual_value == pytest.approx(dual, rel=1e-9, abs=1e-9 * reg)


@pytest.mark.parametrize("reg", [1e-7, 1e-9, 1e-11])
def test_all_entries_allowed_at_tiny_reg(reg: float) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n, m = rng.integers(3, 12, 2)
        C = rng.random((n, m))
        a, b = (rng.dirichlet(np.full(s, 0.3)) + 1e-9 for s in (n, m))
        a, b = a / a.sum(), b / b.sum()
        r = otf.sparsity_constrained(a, b, C, reg, n)
        assert r.converged, r.message
        assert r.value == pytest.approx(exact_ot(a, b, C), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e-100, 1.0, 1e100, 1e200])
@pytest.mark.parametrize("cost", [0.0, 3.0, -2.0])
def test_equal_costs_of_any_scale(scale: float, cost: float) -> None:
    """The plan is a b': value and dual are cost + reg/2 |a b'|^2."""
    C = np.full((5, 6), cost * scale)
    for k in (None, 5):
        solve = otf.quadratic if k is None else lambda *p: otf.sparsity_constrained(*p, 5)
        r = solve(None, None, C, 0.1 * scale)
        want = scale * (cost + 0.05 / 30)
        assert r.value == pytest.approx(want, rel=1e-9)
        assert r.dual_value == pytest.approx(want, rel=1e-9)


def test_potentials_far_out_of_scale_are_discarded() -> None:
    rng = np.random.default_rng(2)
    C = rng.random((12, 15))
    cold = otf.quadratic(None, None, C, 0.1)
    f, g = 1e175 * rng.normal(size=12), 1e175 * rng.normal(size=15)
    warm = otf.quadratic(None, None, C, 0.1, init=(f, g))
    assert warm.converged
    assert abs(warm.value - cold.value) <= 1e-9
    assert abs(warm.gap) <= 1e-9


@pytest.mark.parametrize("reg", [1e-200, 1e200])
def test_regs_whose_squares_leave_the_range(reg: float) -> None:
    """Without costs the plan is the same at any reg."""
    rng = np.random.default_rng(0)
    a, b, C = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(9)), np.zeros((8, 9))
    r, one = (otf.sparsity_constrained(a, b, C, x, 4, axis=1) for x in (reg, 1.0))
    assert r.converged
    assert r.value == pytest.approx(reg * one.value, rel=1e-6)
    assert r.dual_value == pytest.approx(reg * one.dual_value, rel=1e-6)


@pytest.mark.parametrize("seed", [5, 13, 21, 79])
@pytest.mark.parametrize("axis", [0, 1])
def test_one_line_of_huge_costs(seed, axis):
    rng = np.random.default_rng(seed)
    huge, reg = 10 ** rng.uniform(6, 28), 10 ** rng.uniform(-6, 1)
    C = rng.random((7, 36))
    C[0] *= huge
    C = np.moveaxis(C, 0, axis)
    a, b = (np.full(size, 1 / size) for size in C.shape)
    r = otf.quadratic(None, None, C, reg * huge)
    assert r.converged
    assert marginal_error(r.plan, a, b) <= 1e-9
    assert r.value == pytest.approx(objective(r.plan, C, r.reg), rel=1e-9)
    assert r.dual_value == pytest.approx(quadratic_dual(r.f, r.g, a, b, C, r.reg), rel=1e-6)
    assert r.gap <= 1e-6 * r.value


def test_costs_near_the_largest_float():
    C = 1.7e308 * np.random.default_rng(0).uniform(-1, 1, (12, 15))
    for r in (
        otf.quadratic(None, None, C, 1e306),
        otf.sparsity_constrained(None, None, C, 1e306, 6),
    ):
        assert r.converged
        assert np.isfinite(r.value)
        assert np.isfinite(r.history["reg"]).all()


@pytest.mark.parametrize("transpose", [False, True])
def test_a_dual_is_not_below_the_least_cost(transpose):
    rng = np.random.default_rng(0)
    C = rng.random((20, 30)) + 3
    C = C.T if transpose else C
    far = tuple(1e3 * rng.normal(size=k) for k in C.shape)
    r = otf.quadratic(None, None, C, 1e-3, init=far, max_iter=0, on_fail="ignore")
    assert r.dual_value >= C.min()
    assert (r.f[:, None] + r.g <= C + 1e-14).all()
    np.testing.assert_allclose(r.dual_value, r.f.mean() + r.g.mean(), rtol=1e-14)
