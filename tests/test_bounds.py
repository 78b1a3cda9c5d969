"""The certificate: lower <= OT <= upper, finite where a plan exists, and tight.

OT is exact: weights are integers, so that a vertex of the linear programme (HiGHS) is an integer
plan, and sums of Python's integers and fractions have no rounding.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from problems import exact_assignment, exact_ot, pairwise
from scipy import optimize, sparse

import ot_fast as otf
from ot_fast import entropic
from ot_fast._results import certificate

KINDS = ("plain", "ties", "1e6", "one 1e6", "1e32", "negative", "forbidden", "parts", "line")


def problem(kind, seed, dtype=np.float64):
    """Integer weights, some of them 0, and costs of a kind with a feasible plan."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    n, m = rng.integers(1, 9, 2)
    if kind == "line":
        n, m = (1, m) if seed % 2 else (n, 1)
    support = rng.integers(0, 6, (n, m)) * (rng.random((n, m)) < 0.5)
    support[rng.integers(n), rng.integers(m)] += 1
    if kind == "parts":
        part = rng.integers(0, 3, n)[:, None] == rng.integers(0, 3, m)
        support[~part] = 0
        if not support.any():
            part[0, 0], support[0, 0] = True, 1
    C = rng.random((n, m))
    free = (support == 0) & (rng.random((n, m)) < 0.6)
    if kind == "ties":
        C = np.round(3 * C)
    elif kind == "negative":
        C = 10 * C - 5
    elif kind == "one 1e6":
        C[rng.integers(n), rng.integers(m)] = 1e6
    elif kind in ("1e6", "1e32"):
        C[rng.random((n, m)) < 0.6] = float(kind)
    elif kind == "forbidden":
        C[free] = np.inf
    elif kind == "parts":
        C[~part] = np.inf
    return support.sum(1), support.sum(0), C.astype(dtype)


def optimal_cost(a, b, C):
    """The exact cost of an optimal plan, at unit mass, as a Fraction."""
    n, m = C.shape
    allowed = np.isfinite(C).ravel()
    # 1e6 and 1e32 are above any sum of the other costs: 1e3 stands for them, which has more digits.
    cost = np.minimum(C.astype(float), 1e3).ravel()[allowed]
    A = sparse.vstack(
        [sparse.kron(sparse.eye(n), np.ones((1, m))), sparse.kron(np.ones((1, n)), sparse.eye(m))]
    ).tocsc()[:, allowed]
    rhs = np.concatenate([a, b])
    answer = optimize.linprog(cost, A_eq=A, b_eq=rhs, method="highs-ds")
    assert answer.status == 0, answer.message
    P = np.rint(answer.x).astype(int)
    np.testing.assert_array_equal(A @ P, rhs)
    total = sum(int(p) * Fraction(float(c)) for p, c in zip(P, C.ravel()[allowed], strict=True))
    return total / int(a.sum())


def cheapest_paths(cost, gives):
    """The least cost from every row to every column (Bellman-Ford): mass goes from i to j at
    cost_ij, and back from j to i for nothing where the plan's entry ``gives`` it.
    """
    to_column = cost
    for _ in range(sum(cost.shape)):
        to_row = np.where(gives, to_column[:, None, :], np.inf).min(2)  # from row i to row k
        to_column = np.minimum(to_column, (to_row[:, :, None] + cost).min(1))
    return to_column


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("max_iter", [2, 10_000])
@pytest.mark.parametrize("small", [True, False])
def test_bounds_bracket_the_linear_programme(monkeypatch, kind, dtype, max_iter, small):
    if not small:  # as where the entries of the plan are too many to be read
        monkeypatch.setattr(certificate, "SMALL", 0)
    for seed in range(8):
        a, b, C = problem(kind, seed, dtype)
        exact = optimal_cost(a, b, C)
        slack = max(abs(float(exact)), largest_usual(C)) * (1e-12 if small else 1e-9)
        for reg in (1e-3, 0.05, 2.0):
            r = otf.sinkhorn(a, b, C, reg, max_iter=max_iter, on_fail="ignore")
            lower, upper = (float(Fraction(v) / int(a.sum()) - exact) for v in bounds(r))
            assert lower <= slack, (seed, reg)
            assert upper >= -slack, (seed, reg)
            assert np.isfinite([r.lower_bound, r.upper_bound]).all(), (seed, reg)


def largest_usual(C):
    return float(abs(C[C < 1e5]).max(initial=0))


def bounds(r):
    return r.lower_bound, r.upper_bound


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "negative"])
@pytest.mark.parametrize("max_iter", [2, 10_000])
def test_what_is_missing_takes_the_cheapest_paths(kind, max_iter):
    """upper_bound - value_linear <= missing mass times the cheapest path in the residual graph.

    Costs are reduced by feasible potentials, and what is taken out of an entry costs nothing.
    """
    checked = 0
    for seed in range(25):
        a, b, C = problem(kind, seed)
        a, b, C = a[a > 0], b[b > 0], C[np.ix_(a > 0, b > 0)]
        a, b = a / a.sum(), b / b.sum()
        for reg in (1e-3, 0.05, 2.0):
            r = otf.sinkhorn(a, b, C, reg, max_iter=max_iter, on_fail="ignore")
            P = r.plan
            if not np.isfinite(P).all():
                continue
            with np.errstate(divide="ignore"):
                P = P * np.minimum(1, a / P.sum(1))[:, None]
                P = P * np.minimum(1, b / P.sum(0))
            left_a, left_b = np.maximum(a - P.sum(1), 0), np.maximum(b - P.sum(0), 0)
            missing = left_a.sum()
            v = np.minimum((C - np.clip(r.f, -1e3, 1e33)[:, None]).min(0), 1e33)
            u = (C - v).min(1)
            path = cheapest_paths(np.maximum(C - u[:, None] - v, 0), missing < P)
            path = (path + u[:, None] + v)[np.ix_(left_a > 1e-16, left_b > 1e-16)].max(initial=0)
            slack = 1e-11 * max(abs(r.value_linear), largest_usual(C))
            most = missing * max(path, 0) * (1 + 1e-13) + slack
            assert r.upper_bound - r.value_linear <= most, (seed, reg)
            checked += np.isfinite(path)
    assert checked > 30


def test_one_sentinel_does_not_price_the_plan():
    rng = np.random.default_rng(0)
    x, y = rng.random((60, 2)), rng.random((60, 2)) + 1
    C = pairwise(x, y, "euclidean")
    C[3, 5] = 1e6
    r = otf.sinkhorn(None, None, C, 1e-2)
    assert exact_ot(*np.full((2, 60), 1 / 60), C) <= r.upper_bound <= r.value_linear + 1e-8


@pytest.mark.parametrize("n", [150, 400])  # entries, or passes
@pytest.mark.parametrize("far", [np.inf, 1e32])
@pytest.mark.parametrize("reg", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("max_iter", [3, 10_000])
def test_bounds_of_larger_problems(n, far, reg, max_iter):
    rng = np.random.default_rng(n)
    C = pairwise(rng.random((n, 2)), rng.random((n, 2)), "sqeuclidean")
    C[rng.random((n, n)) < 0.4] = far
    exact = exact_assignment(np.minimum(C, 1e3))
    r = otf.sinkhorn(None, None, C, reg, max_iter=max_iter, tol=1e-8, on_fail="ignore")
    assert r.lower_bound <= exact * (1 + 1e-12)
    assert exact * (1 - 1e-12) <= r.upper_bound
    if r.converged:
        assert r.upper_bound <= r.value_linear + 1e-8
    else:
        assert r.upper_bound <= 5 * exact


def test_no_plan_no_bound():
    C = np.ones((3, 3))
    C[:2, 1:] = np.inf  # two rows, one column
    r = otf.sinkhorn(None, None, C, 1.0, max_iter=3, on_fail="ignore")
    assert r.upper_bound == np.inf
    cut = r"only 0.666667 .* 2 of the rows \(0, 1\).* 1 of the columns \(0\)"
    with pytest.raises(otf.InfeasibleError, match=cut):
        otf.sinkhorn(None, None, C, 1.0)


def test_no_plan_is_found_where_the_solver_runs_out_of_passes(monkeypatch):
    monkeypatch.setattr(entropic, "MAX_ITER", 3)
    C = np.ones((3, 3))
    C[:2, 1:] = np.inf
    with pytest.raises(otf.InfeasibleError, match="can carry only"):
        otf.sinkhorn(None, None, C, 1.0)


def test_the_cut_is_named_in_the_callers_orientation():
    C = np.ones((5, 300))
    C[1:, :200] = np.inf  # 200 columns, one row
    for costs in (C, np.asfortranarray(C)):
        with pytest.raises(otf.InfeasibleError, match="can carry only") as raised:
            otf.quadratic(None, None, costs, 1.0)
        text = str(raised.value)
        assert "4 of the rows (1, 2, 3, 4)" in text or "200 of the columns (0, 1, " in text


def test_bounds_of_clouds_are_those_of_their_costs():
    rng = np.random.default_rng(1)
    for n in (20, 300):
        x, y = rng.random((n, 2)), rng.random((n + 5, 2))
        clouds, dense = (
            otf.sinkhorn(None, None, C, 1e-3, tol=1e-9)
            for C in (otf.PointCloud(x, y), pairwise(x, y, "sqeuclidean"))
        )
        np.testing.assert_allclose(bounds(clouds), bounds(dense), rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_sentinels_that_a_large_reg_does_not_see(seed):
    # What is taken off the sentinels cancels nearly all of the cost: its rounding counts.
    rng = np.random.default_rng(seed)
    C = rng.random((102, 12))
    C[rng.integers(102, size=2), rng.integers(12, size=2)] = 1e32
    r = otf.sinkhorn(None, None, C, 6e30)
    exact = exact_ot(np.full(102, 1 / 102), np.full(12, 1 / 12), np.minimum(C, 1e3))
    assert r.lower_bound <= exact <= r.upper_bound < np.inf
