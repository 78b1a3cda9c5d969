"""Assignments against SciPy, all permutations and their own potentials."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

import ot_fast as otf

EPS = np.finfo(float).eps


def check(C, **options):
    """Rows and columns as SciPy has them, the same sum, and potentials that prove it."""
    C = np.asarray(C)
    n, m = C.shape
    row, column, f, g = otf.assignment(C, return_duals=True, **options)
    sign = -1 if options.get("maximize") else 1
    cost, f, g = sign * C.astype(np.float64), sign * f, sign * g
    assert row.dtype == column.dtype == np.int64
    assert len(row) == len(column) == min(n, m)
    assert (np.diff(row) > 0).all()
    assert len(set(column)) == len(column)
    with np.errstate(invalid="ignore"):
        slack = cost - f[:, None] - g
    rounding = 16 * EPS * (abs(cost) + abs(f[:, None]) + abs(g))
    assert (slack >= -rounding)[np.isfinite(cost)].all()
    assert (slack[row, column] <= rounding[row, column]).all()
    for potential, taken, larger in ((f, row, n > m), (g, column, m > n)):
        if larger:
            assert (potential <= 0).all()
            assert not np.delete(potential, taken).any()
    r, c = linear_sum_assignment(cost)
    total, want = cost[row, column], cost[r, c]
    size = abs(want).sum()
    assert abs(total.sum() - want.sum()) <= 1e-12 * size
    assert abs(f.sum() + g.sum() - total.sum()) <= 1e-12 * (abs(f).sum() + abs(g).sum())
    return row, column


def draw(rng):
    """A small matrix of one of many kinds: ties, integers, forbidden pairs, any shape and scale."""
    n, m = rng.integers(1, 12, 2)
    if rng.random() < 0.4:
        m = n
    kind = rng.integers(6)
    if kind == 0:
        C = rng.random((n, m))
    elif kind == 1:
        C = rng.integers(-3, 4, (n, m))
    elif kind == 2:
        C = rng.integers(0, 2, (n, m)) * 10.0 ** rng.integers(-200, 200)
    elif kind == 3:
        C = rng.normal(size=(n, m)) * 10.0 ** rng.integers(-8, 9, (n, m))
    elif kind == 4:
        C = cdist(rng.integers(0, 4, (n, 2)), rng.integers(0, 4, (m, 2)))
    else:
        C = rng.random(n)[:, None] + rng.random(m)
    if rng.random() < 0.3:
        C = np.where(rng.random((n, m)) < 0.3, np.inf, C)
    if rng.random() < 0.3:
        C = np.asfortranarray(C)
    return C


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_small_matrices(seed):
    rng = np.random.default_rng(seed)
    refused = 0
    for _ in range(400):
        C = draw(rng)
        try:
            linear_sum_assignment(C)
        except ValueError:
            refused += 1
            with pytest.raises(otf.InfeasibleError, match="no assignment avoids"):
                otf.assignment(C)
            continue
        check(C)
    assert 0 < refused < 200


def test_all_permutations():
    rng = np.random.default_rng(0)
    for n, m in itertools.product(range(1, 6), repeat=2):
        C = rng.integers(0, 9, (n, m))
        k = min(n, m)
        few = C if n <= m else C.T
        want = min(
            few[np.arange(k), list(p)].sum() for p in itertools.permutations(range(max(n, m)), k)
        )
        row, column = otf.assignment(C)
        assert C[row, column].sum() == want


def cases(n):
    rng = np.random.default_rng(n)
    yield cdist(rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) + 1, "sqeuclidean")
    yield cdist(rng.normal(size=(n, 2)), rng.normal(size=(n, 2)))
    yield cdist(rng.normal(size=(n, 30)), rng.normal(size=(n, 30)), "sqeuclidean")
    yield rng.random((n, n))
    yield rng.integers(0, 100, (n, n))
    yield rng.integers(0, 10 * n, (n, n)).astype(np.float32)
    yield np.outer(np.arange(n) + 1.0, np.arange(n) + 1.0)  # few rows find a column without a path
    yield -(rng.random((n, n)) ** 30)
    yield np.round(cdist(rng.random((n, 1)), rng.random((n, 1))), 2)
    yield np.where(np.eye(n) + (rng.random((n, n)) < 0.1) > 0, rng.random((n, n)), np.inf)
    yield np.zeros((n, n))


@pytest.mark.parametrize("n", [31, 32, 33, 100, 257])
def test_square_matrices_of_every_kind(n):
    for C in cases(n):
        check(C)
        check(C.T)
        check(np.where(np.isinf(C), -np.inf, C), maximize=True)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (40, 300), (300, 40), (200, 201)])
def test_wide_and_tall_matrices(shape):
    rng = np.random.default_rng(1)
    for C in (rng.random(shape), rng.integers(0, 20, shape), cdist(*map(rng_points, shape))):
        check(C)
        check(np.asfortranarray(C))
        check(C, maximize=True)


def rng_points(n):
    return np.random.default_rng(n).random((n, 2))


def test_huge_costs_beside_small_ones():
    rng = np.random.default_rng(2)
    C = rng.random((60, 60))
    C[rng.random(C.shape) < 0.5] = 1e32
    row, column = check(C)
    assert C[row, column].max() < 1
    C[7] += 1e32  # one row has to take a huge one: the others are still right to 1e-12
    row, column = check(C)
    rest, want = np.delete(C[row, column], 7), linear_sum_assignment(np.delete(C, 7, 0))
    assert rest.sum() <= np.delete(C, 7, 0)[want].sum() * (1 + 1e-12) + 1


@pytest.mark.parametrize("seed", range(6))
def test_costs_over_many_decades(seed):
    """Potentials of one column may be 1e16 times those of another, or of the sum."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(50, 120))
    check(rng.random((n, n)) ** 29)
    check(rng.random((n, n)) + 10.0 ** rng.integers(0, 17, n))
    check(rng.random((n, n)) * 10.0 ** rng.integers(-16, 17, (n, 1)))
    check(rng.random((n, 2 * n)) * 10.0 ** rng.integers(-16, 17, (n, 1)))


@pytest.mark.parametrize("scale", [1e-320, 1e-300, 1e-30, 1e30, 1e300, 1.7e308])
def test_costs_of_any_scale(scale):
    C = np.random.default_rng(3).integers(0, 50, (70, 70)) / 49
    row, column = otf.assignment(C * scale)
    want = C[linear_sum_assignment(C)].sum()
    assert C[row, column].sum() == pytest.approx(want, rel=1e-4 if scale < 1e-310 else 1e-13)


def test_sums_of_integers_are_exact():
    C = np.random.default_rng(4).integers(0, 2**45, (90, 90))
    row, column, f, g = otf.assignment(C, return_duals=True)
    want = C[linear_sum_assignment(C)].sum()
    assert C[row, column].sum() == want == int(f.sum()) + int(g.sum())


@given(
    arrays.arrays(
        np.int8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(-5, 5)
    )
)
def test_any_small_matrix(C):
    check(C)
    check(C, maximize=True)


def test_layouts_and_dtypes():
    rng = np.random.default_rng(5)
    C = rng.integers(0, 100, (40, 60))
    want = otf.assignment(C)[1]
    big = np.zeros((80, 120))
    big[::2, ::2] = C
    for same in (
        big[::2, ::2],
        np.asfortranarray(C),
        C.astype(np.float32),
        C.astype(np.float16),
        C.astype(np.uint8),
        C.astype(">f8"),
        C.astype(np.longdouble),
        C.tolist(),
        C[::-1][::-1],
        otf.DenseCost(C),
    ):
        assert C[np.arange(40), otf.assignment(same)[1]].sum() == C[np.arange(40), want].sum()
    before = big.copy()
    otf.assignment(big, maximize=True)
    np.testing.assert_array_equal(big, before)


def test_a_point_cloud_is_formed():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(50, 2)), rng.normal(size=(40, 2))
    row, column = otf.assignment(otf.PointCloud(x, y))
    C = cdist(x, y, "sqeuclidean")
    assert C[row, column].sum() == pytest.approx(C[linear_sum_assignment(C)].sum(), rel=1e-13)


@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (3, 0)])
def test_empty_matrices_as_in_scipy(shape):
    row, column, f, g = otf.assignment(np.zeros(shape), return_duals=True)
    assert row.shape == column.shape == (0,)
    assert (f.shape, g.shape) == ((shape[0],), (shape[1],))


INF = np.inf
WRONG = [
    ([[1.0, np.nan]], {}, ValueError, r"C must not hold NaN or -inf; C\[0, 1\] = nan"),
    ([[1.0, 2.0], [-INF, 3.0]], {}, ValueError, r"C\[1, 0\] = -inf"),
    ([[1.0, 2.0], [INF, 3.0]], {"maximize": True}, ValueError, r"-inf forbids .* C\[1, 0\] = inf"),
    ([1.0, 2.0], {}, ValueError, r"C must be a matrix \(n, m\); got shape \(2,\)"),
    ([[1j]], {}, TypeError, "C must hold real numbers"),
    (None, {}, TypeError, "C must be"),
    (np.ma.masked_equal([[1.0, 2.0]], 2), {}, ValueError, "masked .*to forbid those pairs"),
    (
        [[INF, 1.0, INF], [INF, 2.0, INF], [0.0, 0.0, 0.0]],
        {},
        otf.InfeasibleError,
        r"2 rows \(0, 1\) have finite costs in 1 columns together",
    ),
    ([[INF, 1.0], [INF, 2.0], [INF, 2.0]], {}, otf.InfeasibleError, r"1 columns \(0\) .* 0 rows"),
    ([[-INF]], {"maximize": True}, otf.InfeasibleError, r"1 rows \(0\)"),
]


@pytest.mark.parametrize(("C", "options", "error", "message"), WRONG)
def test_errors_name_what_is_wrong(C, options, error, message):
    with pytest.raises(error, match=message):
        otf.assignment(C, **options)


def test_pairs_that_may_not_be_assigned_are_not():
    rng = np.random.default_rng(7)
    C = np.where(rng.random((150, 150)) < 0.95, INF, rng.random((150, 150)))
    C[np.arange(150), rng.permutation(150)] = 0.5
    row, column = check(C)
    assert np.isfinite(C[row, column]).all()


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        otf.assignment(np.full((3, 3), 1e308))
        otf.assignment(np.random.default_rng(0).random((64, 64)).astype(np.float32))
