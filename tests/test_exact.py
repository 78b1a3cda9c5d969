"""Exact transport: plans against linear programming and POT, potentials that prove them."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import (
    COSTS,
    clouds,
    exact_assignment,
    exact_ot,
    monotone_plan,
    pairwise,
    random_problem,
    spec,
)
from scipy import sparse

import ot_fast as otf

EPS = np.finfo(float).eps
rng = np.random.default_rng(0)


def check_proof(r, a, b, C):
    """The plan has the marginals, no pair violates the potentials, and the two values agree."""
    a, b, C = (np.asarray(v, np.longdouble) for v in (a, b, C))
    b = b * (a.sum() / b.sum())
    P, f, g = r.plan, *(np.asarray(v, np.longdouble) for v in r.potentials)
    n, m = C.shape
    allowed = np.isfinite(C)
    cost = np.where(allowed, C, 0)
    assert r.converged, r.message
    assert P.min() >= 0
    assert not P[~allowed].any()
    assert r.sparse_plan.nnz <= n + m - 1
    assert max(abs(P.sum(1) - a).sum(), abs(P.sum(0) - b).sum()) <= (n + m) * EPS * a.sum()
    terms = abs(cost) + abs(f)[:, None] + abs(g)
    assert (cost - f[:, None] - g + 16 * EPS * terms)[allowed].min() >= 0
    size = float((P * abs(cost)).sum())
    assert abs(r.value - (P * cost).sum()) <= 1e-14 * size
    dual = a @ f + b @ g
    rounding = 40 * EPS * float(size + a @ abs(f) + b @ abs(g))
    assert abs(r.lower_bound - dual) <= rounding
    assert abs(r.value - dual) <= rounding
    return size


# ---- problems of all kinds ---------------------------------------------------------------------


def some_costs(rng, n, m):
    """Costs of a drawn kind: ties, signs, scales, large offsets."""
    return (
        lambda: rng.random((n, m)),
        lambda: rng.integers(0, 4, (n, m)).astype(float),
        lambda: np.zeros((n, m)),
        lambda: rng.normal(size=(n, m)) * 10.0 ** rng.integers(-8, 8),
        lambda: abs(np.subtract.outer(np.arange(n), np.arange(m))).astype(float),
        lambda: 10.0 ** rng.integers(-4, 5, (n, m)),
        lambda: np.where(rng.random((n, m)) < 0.3, 1e32, rng.random((n, m))),
        lambda: -rng.integers(0, 100, (n, m)).astype(float),
        lambda: rng.random((n, m)) + 1e8,
    )[rng.integers(9)]()


def some_masses(rng, n, m):
    """Masses of a drawn kind: uniform, uneven, integers, zeros."""
    kind = rng.integers(6)
    if kind == 0:
        return np.full(n, 1 / n), np.full(m, 1 / m)
    if kind == 1:
        return rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    if kind == 2:
        a = rng.integers(0, 6, n) + (np.arange(n) == 0)
        return a.astype(float), rng.multinomial(a.sum(), np.ones(m) / m).astype(float)
    if kind == 3:
        a, b = 10.0 ** rng.integers(-6, 1, n), 10.0 ** rng.integers(-6, 1, m)
    elif kind == 4:
        a, b = np.full(n, float(m)), np.full(m, float(n))
    else:
        a, b = (rng.dirichlet(np.ones(k)) * (rng.random(k) < 0.6) for k in (n, m))
        a[0] += 0.1
        b[-1] += 0.1
    return a, b * (a.sum() / b.sum())


def pot_value(a, b, C):
    """The value of POT, or None where it does not solve the problem."""
    ot = pytest.importorskip("ot")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        P = ot.emd(a, b, C, numItermax=10**7)
    return None if caught else float((P * C).sum())


@pytest.mark.parametrize("block", range(8))
def test_drawn_problems_of_all_kinds_match_pot(block):
    for seed in range(40 * block, 40 * block + 40):
        rng = np.random.default_rng(seed)
        n, m = (1, 40) if seed % 20 == 0 else rng.integers(1, 24, 2)
        C, (a, b) = some_costs(rng, n, m), some_masses(rng, n, m)
        size = check_proof(otf.emd(a, b, C), a, b, C)
        value, want = otf.emd(a, b, C).value, pot_value(a, b, C)
        assert want is None or value <= want + 1e-12 * size, seed


@pytest.mark.parametrize("block", range(4))
def test_drawn_problems_with_forbidden_pairs_match_a_linear_programme(block):
    from scipy import optimize

    for seed in range(30 * block, 30 * block + 30):
        rng = np.random.default_rng(1000 + seed)
        n, m = rng.integers(2, 14, 2)
        a, b = some_masses(rng, n, m)
        C = np.where(rng.random((n, m)) < rng.choice([0.2, 0.5, 0.8]), np.inf, rng.random((n, m)))
        ok = np.isfinite(C)
        A = np.vstack([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])
        flow = optimize.linprog(  # the most that the allowed pairs can carry
            -ok.ravel().astype(float),
            A_ub=A,
            b_ub=np.concatenate([a, b]) / a.sum(),
            bounds=[(0, None if v else 0) for v in ok.ravel()],
        )
        if -flow.fun < 1 - 1e-9:
            with pytest.raises(otf.InfeasibleError, match="pairs that C allows them lie in"):
                otf.emd(a, b, C)
            continue
        r = otf.emd(a, b, C)
        check_proof(r, a, b, C)
        assert r.value == pytest.approx(exact_ot(a, b, C), rel=1e-7, abs=1e-9 * a.sum())


@pytest.mark.parametrize("shape", [(150, 170), (400, 90), (20, 3000), (1, 30_000), (260, 260)])
@pytest.mark.parametrize("kind", ["random", "integers", "points", "forbidden", "huge", "uneven"])
def test_large_problems_go_through_candidates(shape, kind):
    n, m = shape
    rng = np.random.default_rng(n + m)
    a, b, C = random_problem(n, m, seed=3)
    if kind == "integers":
        C = rng.integers(0, 20, shape).astype(float)
    elif kind == "points":
        x, y = clouds(n, m, 2, seed=3)
        C = pairwise(x, y, "sqeuclidean")
    elif kind == "forbidden":
        C[rng.random(shape) < 0.7] = np.inf
        C[:, 0] = 5.0
        C[0] = 5.0
    elif kind == "huge":
        C[rng.random(shape) < 0.5] = 1e32
    elif kind == "uneven":
        a, b = 10.0 ** rng.uniform(-6, 0, n), 10.0 ** rng.uniform(-6, 0, m)
        b *= a.sum() / b.sum()
    if kind in ("forbidden", "huge"):
        a, b = np.full(n, 1 / n), np.full(m, 1 / m)
        C[-1], C[:, -1] = 7.0, 7.0
    r = otf.emd(a, b, C)
    size = check_proof(r, a, b, C)
    if kind != "forbidden":
        want = pot_value(a, b, C)
        assert want is None or r.value <= want + 1e-12 * size


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [(40, 33), (210, 190)])
def test_points_and_their_matrix_give_the_same(cost, dtype, shape):
    x, y = clouds(*shape, 3, seed=5, dtype=dtype)
    a, b, _ = random_problem(*shape, seed=6)
    cloud = otf.PointCloud(x, y, **spec(cost))
    C = cloud.to_dense()
    r = otf.emd(a, b, cloud)
    if dtype == "float64":
        check_proof(r, a, b, C)
    assert r.f.dtype == r.plan.dtype == np.float64
    assert r.value == pytest.approx(
        otf.emd(a, b, C).value, rel=1e-12 if dtype == "float64" else 1e-5
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool", "float16"])
def test_orders_and_types(order, dtype):
    C = np.asarray(np.random.default_rng(3).integers(0, 2, (30, 20)), dtype, order=order)
    C[0, 0] = 1
    a, b, _ = random_problem(30, 20, seed=6)
    check_proof(otf.emd(a, b, C), a, b, C.astype(float))


def test_lists_and_none():
    assert otf.emd(None, None, [[0, 1], [1, 0]]).value == 0
    assert otf.emd([1, 2], None, [[1.0], [3.0]]).value == 7


# ---- sparse matrices ---------------------------------------------------------------------------


def listed(C):
    """The sparse matrix of the allowed pairs of C, zeros stored."""
    i, j = np.nonzero(np.isfinite(C))
    return sparse.coo_array((C[i, j], (i, j)), shape=C.shape)


@pytest.mark.parametrize("seed", range(30))
def test_sparse_matrices_are_solved_on_their_pairs(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(2, 40, 2)
    a, b = some_masses(rng, n, m)
    C = np.where(rng.random((n, m)) < 0.5, np.inf, rng.integers(0, 5, (n, m)))
    kind = rng.choice([sparse.csr_array, sparse.csc_matrix, sparse.coo_array, sparse.csr_matrix])
    try:
        want = otf.emd(a, b, C)
    except otf.InfeasibleError:
        with pytest.raises(otf.InfeasibleError, match="pairs that C allows them lie in"):
            otf.emd(a, b, kind(listed(C)))
        return
    r = otf.emd(a, b, kind(listed(C)))
    check_proof(r, a, b, C)
    assert r.value == pytest.approx(want.value, rel=1e-13, abs=1e-13 * a.sum())
    for init in (r, (r.f, None), (None, r.g)):
        again = otf.emd(a, b, kind(listed(C)), init=init)
        assert again.value == pytest.approx(r.value, rel=1e-13, abs=1e-13 * a.sum())
        assert init is not r or again.n_iter <= r.n_iter


def test_a_large_sparse_problem_is_never_dense():
    n = 200_000  # dense: 320 GB
    i = np.arange(n)
    rows, columns = np.tile(i, 3), np.concatenate([i, (i + 1) % n, (i + 7) % n])
    cost = np.random.default_rng(0).random(3 * n)
    r = otf.emd(None, None, sparse.coo_array((cost, (rows, columns)), shape=(n, n)))
    assert r.converged
    assert r.marginal_error <= 1e-12
    assert r.value == pytest.approx(r.lower_bound, rel=1e-12)
    assert (cost - r.f[rows] - r.g[columns]).min() >= -1e-14
    with pytest.raises(MemoryError, match="use sparse_plan"):
        _ = r.plan


def test_bad_sparse_matrices_are_named():
    C = sparse.csr_array(np.array([[1.0, np.nan], [2.0, 3.0]]))
    for wrong, error, message in (
        (C, ValueError, r"C\[0, 1\] = nan \(1 of 4 entries\)"),
        (sparse.csr_array(np.ones((2, 2), complex)), TypeError, "real numbers"),
        (sparse.csr_array((0, 3)), ValueError, "nonempty"),
    ):
        with pytest.raises(error, match=message):
            otf.emd(None, None, wrong)


# ---- closed forms ------------------------------------------------------------------------------


def test_uniform_square_problems_are_assignments():
    for n in (1, 2, 7, 30, 140):
        C = np.random.default_rng(n).random((n, n))
        assert otf.emd(None, None, C).value == pytest.approx(exact_assignment(C), rel=1e-13)


def test_points_on_the_line_are_matched_in_order():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=25), rng.normal(size=18)
    a, b = rng.dirichlet(np.ones(25)), rng.dirichlet(np.ones(18))
    r = otf.emd(a, b, otf.PointCloud(x, y))
    np.testing.assert_allclose(r.plan, monotone_plan(x, a, y, b), atol=1e-15)


@given(seed=st.integers(0, 10**6))
def test_integer_masses_give_integer_plans(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 12, 2)
    a = rng.integers(0, 10**12, n) + 1
    cuts = np.sort(rng.integers(0, a.sum() + 1, m - 1))
    b = np.diff(np.concatenate([[0], cuts, [a.sum()]]))
    C = rng.integers(-5, 6, (n, m))
    r = otf.emd(a, b, C)
    P = r.plan
    np.testing.assert_array_equal(P, np.rint(P))
    np.testing.assert_array_equal(P.sum(1), a)
    np.testing.assert_array_equal(P.sum(0), b)
    assert r.marginal_error == 0
    assert r.value == int((P.astype(int) * C).sum())


@given(k=st.integers(-200, 200), seed=st.integers(0, 50))
def test_scales_by_powers_of_two_change_no_digit(k, seed):
    a, b, C = random_problem(9, 11, seed)
    s = 2.0**k
    r = otf.emd(a, b, C)
    costs, masses = otf.emd(a, b, C * s), otf.emd(a * s, b * s, C)
    np.testing.assert_array_equal(costs.plan, r.plan)
    np.testing.assert_array_equal(costs.f, r.f * s)
    np.testing.assert_array_equal(masses.plan, r.plan * s)
    assert costs.value == masses.value == r.value * s


@given(seed=st.integers(0, 10**6))
def test_symmetries(seed):
    a, b, C = random_problem(8, 13, seed)
    P = otf.emd(a, b, C).plan
    np.testing.assert_allclose(otf.emd(b, a, C.T).plan.T, P, atol=1e-15)
    np.testing.assert_allclose(otf.emd(a, b, C + 5).plan, P, atol=1e-15)
    rows = np.random.default_rng(seed).permutation(8)
    np.testing.assert_allclose(otf.emd(a[rows], b, C[rows]).plan, P[rows], atol=1e-15)


def test_extreme_units():
    a, b, C = random_problem(12, 9, seed=1)
    want = otf.emd(a, b, C).value
    for scale in (1e-300, 1e300):
        assert otf.emd(a, b, C * scale).value == pytest.approx(want * scale, rel=1e-12)
        assert otf.emd(a * scale, b * scale, C).value == pytest.approx(want * scale, rel=1e-12)


def test_masses_that_differ_by_rounding_are_balanced():
    a, b, C = random_problem(9, 11, seed=2)
    r = otf.emd(a, b * (1 + 1e-9), C)
    check_proof(r, a, b, C)
    assert r.b_scale == pytest.approx(1 - 1e-9, abs=1e-14)
    np.testing.assert_allclose(r.b, b, rtol=1e-14)
    with pytest.raises(ValueError, match="equal sums"):
        otf.emd(a, 2 * b, C)


# ---- potentials --------------------------------------------------------------------------------


def test_potentials_are_gradients():
    a, b, C = random_problem(12, 9, seed=4)
    r, h = otf.emd(a, b, C), 1e-7
    for f, w, other in ((r.f, a, False), (r.g, b, True)):
        for i, j in ((0, 1), (3, 5)):
            moved = w.copy()
            moved[i] += h
            moved[j] -= h
            near = otf.emd(a, moved, C) if other else otf.emd(moved, b, C)
            assert (near.value - r.value) / h == pytest.approx(f[i] - f[j], abs=1e-6)
    D = np.random.default_rng(0).normal(size=C.shape)
    near = otf.emd(a, b, C + h * D)
    assert (near.value - r.value) / h == pytest.approx((r.plan * D).sum(), abs=1e-6)


def test_potentials_are_centred_and_those_of_integer_costs_exact():
    C = np.random.default_rng(1).integers(0, 50, (30, 40))
    r = otf.emd(None, None, C)
    assert abs(r.f.mean() - r.g.mean()) <= 0.05 * (abs(r.f).max() + abs(r.g).max())
    assert (C - r.f[:, None] - r.g).min() == 0 == r.min_reduced_cost


def test_without_mass_potentials_are_c_transforms():
    a, b, C = random_problem(20, 25, seed=7)
    a[[3, 8]] = 0
    b[[0, 24]] = 0
    b *= a.sum() / b.sum()
    r = otf.emd(a, b, C)
    check_proof(r, a, b, C)
    full = np.flatnonzero(b)
    np.testing.assert_allclose(r.f[[3, 8]], (C[[3, 8]][:, full] - r.g[full]).min(1), atol=1e-15)
    np.testing.assert_allclose(r.g[[0, 24]], (C - r.f[:, None])[:, [0, 24]].min(0), atol=1e-15)


# ---- limits and starts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def medium():
    x, y = clouds(300, 280, 2, seed=9)
    C = pairwise(x, y, "sqeuclidean")
    return C, otf.emd(None, None, C)


@pytest.mark.parametrize(
    "limit", [{"max_iter": k} for k in (0, 1, 100, 600)] + [{"time_limit": 1e-9}]
)
@pytest.mark.parametrize("whole", [False, True])
def test_a_solve_that_is_stopped_leaves_a_plan_and_bounds(medium, limit, whole):
    C, best = medium
    if whole:
        C = C[:60, :50]
        best = otf.emd(None, None, C)
    r = otf.emd(None, None, C, on_fail="ignore", **limit)
    n, m = C.shape
    assert r.marginal_error <= 1e-15 * (n + m)
    assert r.sparse_plan.nnz <= n + m - 1
    assert r.value == pytest.approx((r.plan * C).sum(), rel=1e-13)
    assert (C - r.f[:, None] - r.g).min() >= -1e-13
    assert r.lower_bound == pytest.approx(r.f.mean() + r.g.mean(), rel=1e-12)
    assert r.lower_bound <= best.value * (1 + 1e-13)
    assert best.value <= r.upper_bound * (1 + 1e-13)
    if r.gap > 1e-12:
        assert not r.converged
        assert r.status == ("max_iter" if "max_iter" in limit else "time_limit")


def test_a_gap_may_be_accepted(medium):
    C, best = medium
    r = otf.emd(None, None, C, tol=0.5, init=(np.zeros(300), None))
    assert r.converged
    assert r.gap <= 0.5 * r.value
    assert r.n_iter < otf.emd(None, None, C, init=(np.zeros(300), None)).n_iter
    assert r.lower_bound <= best.value <= r.upper_bound * (1 + 1e-14)


def test_warm_starts_take_few_pivots(medium):
    C, best = medium
    noise = np.random.default_rng(0).normal(size=C.shape)
    a = 1 + 0.01 * np.random.default_rng(1).random(300)
    cold = best.n_iter
    for init, most in (
        (best, 0.1),
        (best.potentials, 0.1),
        ((best.f, None), 0.1),
        ((None, best.g), 0.1),
    ):
        r = otf.emd(None, None, C, init=init)
        assert r.value == pytest.approx(best.value, rel=1e-14)
        assert r.n_iter <= most * cold
    near = C * (1 + 0.001 * noise)
    r = otf.emd(None, None, near, init=best)
    check_proof(r, np.full(300, 1 / 300), np.full(280, 1 / 280), near)
    assert r.n_iter < 0.5 * otf.emd(None, None, near).n_iter
    r = otf.emd(a, None, C, init=best)
    check_proof(r, a, np.full(280, a.sum() / 280), C)
    assert r.n_iter < otf.emd(a, None, C).n_iter


def test_any_start_ends_at_the_optimum(medium):
    C, best = medium
    for seed in range(4):
        f = 10.0**seed * np.random.default_rng(seed).normal(size=300)
        assert otf.emd(None, None, C, init=(f, None)).value == pytest.approx(best.value, rel=1e-14)
    loose = otf.sinkhorn(None, None, C, 0.05, tol=1e-3)
    assert otf.emd(None, None, C, init=loose).value == pytest.approx(best.value, rel=1e-14)


def test_history_and_callback(medium):
    seen = []
    r = otf.emd(None, None, medium[0], callback=seen.append)
    assert len(seen) == r.rounds == len(r.history["n_iter"])
    assert r.history["n_iter"][-1] == r.n_iter
    assert r.history["error"][-1] <= 1e-13
    assert r.history["dual_value"][-1] == pytest.approx(r.value, rel=1e-12)


# ---- results -----------------------------------------------------------------------------------


def test_fields_of_a_result(medium):
    C, r = medium
    V = np.random.default_rng(0).normal(size=(280, 3))
    np.testing.assert_allclose(r.plan_operator @ V, r.plan @ V, atol=1e-15)
    np.testing.assert_allclose(r.plan_operator.T @ r.f, r.plan.T @ r.f, atol=1e-15)
    np.testing.assert_array_equal(r.sparse_plan.toarray(), r.plan)
    assert r.sparsify(top_k=1).nnz <= 300
    assert r.value == r.upper_bound == r.value_linear
    assert r.gap == r.upper_bound - r.lower_bound
    assert len(r.pairs[0]) <= 579
    assert "optimal" in r.message
    assert "ExactResult: 300 x 280" in repr(r)
    with pytest.raises(ValueError, match="read-only"):
        r.sparse_plan.data[0] = 1
    for again in (pickle.loads(pickle.dumps(r)), copy.deepcopy(r)):
        np.testing.assert_array_equal(again.plan, r.plan)
        assert otf.emd(None, None, C, init=again).n_iter <= 0.1 * r.n_iter


def test_a_plot_of_the_plan():
    pytest.importorskip("matplotlib")
    a, b, C = random_problem(20, 15, seed=1)
    assert len(otf.emd(a, b, C).plot().axes) == 2


def test_infeasible_problems_name_the_cut():
    C = np.ones((3, 3))
    C[:2, 1:] = np.inf  # two rows, one column
    with pytest.raises(
        otf.InfeasibleError, match=r"rows \[0, 1\] .* lie in 1 columns .* 0\.333333"
    ):
        otf.emd(None, None, C)
    with pytest.raises(otf.InfeasibleError, match="columns"):
        otf.emd(None, None, np.asfortranarray(C[:, [0, 0, 1, 2]].T.copy().T)[:, 1:].T)
    C[2] = np.inf
    with pytest.raises(otf.InfeasibleError):
        otf.emd(None, None, C)
