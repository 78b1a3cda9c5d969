"""Transport on the line and on a circle against closed forms, fractions and linear programs."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.stats import norm, wasserstein_distance

import ot_fast as otf

POWERS = [1, 1.5, 2, 3, 7]


def arcs(x, y, period):
    """|x_i - y_j| on the line, or along the shorter arc."""
    d = abs(x[:, None] - y)
    return d if period is None else np.minimum(d % period, period - d % period)


def linear_program(C, a, b):
    n, m = C.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    found = linprog(C.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.r_[a, b])
    assert found.status == 0
    return found.fun


def exact_power(x, y, a, b, p):
    """``W_p^p`` for integer p as a Fraction of the floats given; b is scaled to the sum of a."""
    x, y, a, b = ([Fraction(float(v)) for v in w] for w in (x, y, a, b))
    b = [w * sum(a) / sum(b) for w in b]
    first, second = sorted(zip(x, a, strict=True)), sorted(zip(y, b, strict=True))
    total, i, j = Fraction(0), 0, 0
    (u, s), (v, t) = first[0], second[0]
    while True:
        moved = min(s, t)
        total += moved * abs(u - v) ** p
        s, t = s - moved, t - moved
        if s == 0:
            i += 1
            if i == len(first):
                return total
            u, s = first[i]
        elif t == 0:
            j += 1
            v, t = second[j]


def weighted(seed, n, m):
    """Tied points, and weights of which some are zero."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n).round(1), rng.normal(size=m).round(1)
    a, b = (rng.random(k) * (rng.random(k) < 0.8) + 1e-3 * (np.arange(k) == 0) for k in (n, m))
    return x, y, a / a.sum(), b / b.sum()


# ---- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [*POWERS, np.inf])
@pytest.mark.parametrize("n", [1, 10, 1000])
def test_a_shift_costs_its_length(p, n):
    x = np.random.default_rng(n).integers(-1000, 1000, n)
    y = np.random.default_rng(0).permutation(x) + 3
    assert otf.wasserstein_1d(x, y, p=p) == pytest.approx(3, rel=1e-15)


def test_gaussian_quantiles():
    """``W_2^2 = (m1 - m2)^2 + (s1 - s2)^2``, here with the second moments of the quantiles."""
    z = norm.ppf((np.arange(2000) + 0.5) / 2000)
    z /= np.sqrt(np.mean(z**2))
    assert otf.wasserstein_1d(z, 1 + 3 * z, p=2) == pytest.approx(math.sqrt(5), rel=1e-14)


def test_uniform_and_dirac():
    x = (np.arange(1000) + 0.5) / 1000
    assert otf.wasserstein_1d(x, [0.0]) == pytest.approx(0.5, rel=1e-15)
    assert otf.wasserstein_1d(x, [0.0], p=np.inf) == x.max()


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 7), (60, 41), (700, 900)])
def test_values_are_those_of_exact_fractions(p, size):
    rng = np.random.default_rng(size[0])
    x, y = rng.normal(size=size[0]), rng.normal(size=size[1])
    a, b = rng.random(size[0]) ** 8, rng.random(size[1]) ** 8
    b *= a.sum() / b.sum()
    for wa, wb in ((a, b), (None, None), (a, None)):
        fa = a if wa is not None else np.ones(len(x))
        fb = b if wb is not None else np.ones(len(y))
        want = exact_power(x, y, fa, fb, p)
        if wa is None:
            want /= len(x)
        with mpmath.workdps(40):
            root = mpmath.mpf(want.numerator) / mpmath.mpf(want.denominator)
            root = float(root ** (mpmath.mpf(1) / p))
        assert otf.wasserstein_1d(x, y, wa, wb, p) == pytest.approx(root, rel=1e-14)


def test_nearly_equal_measures_keep_their_digits():
    """Levels of both measures agree to 1e-9: differences of sums in float64 would lose them."""
    rng = np.random.default_rng(3)
    x, a = rng.normal(size=300), rng.random(300)
    b = a * (1 + 1e-9 * rng.normal(size=300))
    b *= a.sum() / b.sum()
    want = float(exact_power(x, x, a, b, 1))
    assert 0 < want < 1e-6
    assert otf.wasserstein_1d(x, x, a, b) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("p", POWERS)
@pytest.mark.parametrize("period", [None, 1.3])
@pytest.mark.parametrize("seed", range(12))
def test_values_and_plans_are_those_of_a_linear_program(p, period, seed):
    n, m = np.random.default_rng(seed).integers(1, 9, 2)
    x, y, a, b = weighted(seed, n, m)
    C = arcs(x, y, period) ** p
    want = linear_program(C, a, b)
    assert otf.wasserstein_1d(x, y, a, b, p, period=period) ** p == pytest.approx(want, abs=1e-12)
    P = otf.emd_1d(x, y, a, b, p, period=period)
    assert P.nnz <= n + m - 1
    assert P.data.min() > 0
    dense = P.toarray()
    np.testing.assert_allclose(dense.sum(1), a, atol=1e-15)
    np.testing.assert_allclose(dense.sum(0), b, atol=1e-15)
    assert (dense * C).sum() == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("weights", [False, True])
def test_agrees_with_scipy(weights):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=5000), rng.gumbel(size=3000)
    a, b = (rng.dirichlet(np.ones(len(v))) if weights else None for v in (x, y))
    assert otf.wasserstein_1d(x, y, a, b) == pytest.approx(
        wasserstein_distance(x, y, a, b), rel=1e-12
    )


floats = st.floats(-1e3, 1e3, width=32)
points = st.lists(floats, min_size=1, max_size=12)


@given(points, points, st.sampled_from(POWERS), st.floats(-100, 100), st.randoms())
def test_invariants(x, y, p, shift, random):
    x, y = np.array(x), np.array(y)
    W = otf.wasserstein_1d(x, y, p=p)
    close = {"rel": 1e-12, "abs": 1e-10}
    assert otf.wasserstein_1d(y, x, p=p) == pytest.approx(W, **close)
    assert otf.wasserstein_1d(-x, -y, p=p) == pytest.approx(W, **close)
    assert otf.wasserstein_1d(random.sample(list(x), len(x)), y, p=p) == W
    assert otf.wasserstein_1d(x + shift, y + shift, p=p) == pytest.approx(W, rel=1e-9, abs=1e-9)
    assert abs(x.mean() - y.mean()) <= W * (1 + 1e-12) + 1e-10
    assert otf.wasserstein_1d(x, y, p=np.inf) * (1 + 1e-12) >= W
    assert otf.wasserstein_1d(np.repeat(x, 3), y, p=p) == pytest.approx(W, **close)
    assert otf.wasserstein_1d(x, x, p=p) == 0


@pytest.mark.parametrize("p", [*POWERS, 50, 400, np.inf])
@pytest.mark.parametrize("exponent", [-1060, -700, 600, 1020])
def test_powers_of_any_scale_stay_in_range(p, exponent):
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 8, 9) * 1.0, rng.integers(0, 8, 7) * 1.0
    want = np.ldexp(otf.wasserstein_1d(x, y, p=p), exponent)
    scaled = otf.wasserstein_1d(np.ldexp(x, exponent), np.ldexp(y, exponent), p=p)
    assert scaled == pytest.approx(want, rel=1e-13 if exponent > -1000 else 1e-4)


def test_differences_beyond_the_largest_float():
    most = np.finfo(float).max
    assert otf.wasserstein_1d([most, 0.0], [-most, 0.0], p=1) == pytest.approx(most)
    assert otf.wasserstein_1d([most], [-most / 2], [1e-3], [1e-3]) == pytest.approx(1.5e-3 * most)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_masses_of_any_scale(p):
    x, y, a, b = weighted(5, 20, 30)
    W = otf.wasserstein_1d(x, y, a, b, p)
    for mass in (3.0, 2.0**-1000, 2.0**1000):
        scaled = otf.wasserstein_1d(x, y, mass * a, mass * b, p)
        assert scaled == pytest.approx(float(mpmath.root(mass, p)) * W, rel=1e-14)
    largest = otf.wasserstein_1d(x, y, a, b, np.inf)
    assert otf.wasserstein_1d(x, y, 2.0**900 * a, 2.0**900 * b, np.inf) == largest
    P = otf.emd_1d(x, y, 2.0**900 * a, 2.0**900 * b)
    np.testing.assert_array_equal(P.data, 2.0**900 * otf.emd_1d(x, y, a, b).data)


def test_integer_masses_give_integer_flows():
    rng = np.random.default_rng(2)
    x, y = rng.random(50), rng.random(30)
    a, b = rng.multinomial(1000, np.full(50, 1 / 50)), rng.multinomial(1000, np.full(30, 1 / 30))
    for period in (None, 0.7):
        P = otf.emd_1d(x, y, a, b, 2, period=period)
        assert (P.data == P.data.round()).all()
        np.testing.assert_array_equal(P.sum(1), a)


def test_equal_sizes_without_weights_give_a_permutation():
    x, y = np.random.default_rng(4).random((2, 200))
    for period in (None, 1.0):
        P = otf.emd_1d(x, y, p=2, period=period)
        assert P.nnz == 200
        np.testing.assert_allclose(P.data, 1 / 200, rtol=1e-14)


# ---- circles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2, 3.5])
@pytest.mark.parametrize("n", [1, 5, 1000])
@pytest.mark.parametrize("turn", [0.0, 0.2, 0.9, -3.3, 12.0])
def test_a_turned_measure(p, n, turn):
    """Points at equal distances, turned by less than half of one: each moves by that."""
    x = np.arange(n) / n * 24
    angle = 24 / n * (0.4 if n > 1 else 0.1)
    W = otf.wasserstein_1d(x, x + angle + 24 * round(turn), p=p, period=24.0)
    assert pytest.approx(angle, rel=1e-11) == W
    assert otf.wasserstein_1d(x + turn, x + turn, p=p, period=24.0) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_circle_is_the_best_of_all_cuts(p):
    """Equal sizes: the optimum is one of n shifted matchings in order."""
    rng = np.random.default_rng(8)
    for n in (2, 3, 17, 64):
        x, y = np.sort(rng.random(n)), np.sort(rng.random(n) ** 3)
        want = min((arcs(x, np.roll(y, k), 1.0).diagonal() ** p).mean() for k in range(n))
        assert otf.wasserstein_1d(x, y, p=p, period=1.0) ** p == pytest.approx(want, rel=1e-12)


@given(points, points, st.sampled_from(POWERS), st.floats(-100, 100))
def test_invariants_of_a_circle(x, y, p, turn):
    x, y = np.array(x), np.array(y)
    W = otf.wasserstein_1d(x, y, p=p, period=10.0)
    close = {"rel": 1e-8, "abs": 1e-8 if p == 1 else 1e-4}
    assert otf.wasserstein_1d(y, x, p=p, period=10.0) == pytest.approx(W, **close)
    assert otf.wasserstein_1d(x + turn, y + turn, p=p, period=10.0) == pytest.approx(W, **close)
    assert W <= 5.0 * (1 + 1e-12)
    assert otf.wasserstein_1d(x % 10, y % 10, p=p) * (1 + 1e-12) >= W


# ---- derivatives -------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
@pytest.mark.parametrize("period", [None, 1.0])
def test_derivatives_by_differences(p, period):
    if period and math.isinf(p):
        pytest.skip("p is finite on a circle")
    from ot_fast.one_dimension import Problems

    rng = np.random.default_rng(6)
    x, y, a, b = rng.random(30), rng.random(20), rng.random(30), rng.random(20)
    b *= a.sum() / b.sum()

    def at(dx=0, dy=0, da=0, db=0):
        return otf.wasserstein_1d(x + dx, y + dy, a + da, b + db, p, period=period)

    finite_line = not period and not math.isinf(p)
    _, gx, gy, ga, gb = Problems.of(x, y, a, b, p, period, None).solve(
        points=True, weights=finite_line
    )
    h = 1e-7
    u, v = rng.normal(size=30), rng.normal(size=20)
    slope = (at(h * u, h * v) - at(-h * u, -h * v)) / (2 * h)
    assert gx[0] @ u + gy[0] @ v == pytest.approx(slope, rel=1e-5)
    if finite_line:
        v *= 0
        u -= u.mean()
        slope = (at(da=h * u) - at(da=-h * u)) / (2 * h)
        assert ga[0] @ u == pytest.approx(slope, rel=1e-5)
        f, g = ga[0], gb[0]  # potentials: feasible, and tight on the plan
        scale = at() ** (1 - p) / p
        slack = scale * abs(x[:, None] - y) ** p - f[:, None] - g
        assert slack.min() > -1e-13
        assert abs((otf.emd_1d(x, y, a, b).toarray() * slack).sum()) < 1e-13
        assert a @ f == pytest.approx(b @ g)
    else:
        with pytest.raises(ValueError, match="derivatives in weights need"):
            Problems.of(x, y, a, b, p, period, None).solve(weights=True)


# ---- batches, arrays, threads ------------------------------------------------------------------


def test_batches_are_their_rows():
    rng = np.random.default_rng(7)
    x, y = rng.random((4, 3, 20)), rng.random((3, 15))
    a, b = rng.random((4, 3, 20)), rng.random(15)
    a *= (b.sum() / a.sum(-1))[..., None]
    for wa, wb in ((None, None), (a, b), (None, b), (a, None)):
        W = otf.wasserstein_1d(x, y, wa, wb, p=2)
        assert W.shape == (4, 3)
        assert W.dtype == np.float64
        for k in np.ndindex(4, 3):
            wk = None if wa is None else wa[k]
            assert W[k] == otf.wasserstein_1d(x[k], y[k[1]], wk, wb, p=2)
    assert otf.wasserstein_1d(x, y[0, :1]).shape == (4, 3)
    assert otf.wasserstein_1d(x[:1, :1], y).shape == (1, 3)


@pytest.mark.parametrize("period", [None, 0.6])
def test_the_same_bits_for_any_number_of_threads_and_any_layout(period):
    rng = np.random.default_rng(9)
    x, y = rng.random((300, 700)), rng.random((300, 600))
    one = otf.wasserstein_1d(x, y, p=2, period=period, threads=1)
    for other in (
        otf.wasserstein_1d(x, y, p=2, period=period, threads=3),
        otf.wasserstein_1d(np.asfortranarray(x), np.repeat(y, 2, 1)[:, ::2], p=2, period=period),
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("n", [50, 511, 512, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sorting(n, dtype):
    """Numbers of all magnitudes and signs, with ties, at sizes around the change of method."""
    rng = np.random.default_rng(n)
    x = (rng.normal(size=n) * 10.0 ** rng.integers(-30, 30, n)).astype(dtype)
    x[::7] = x[0]
    x[:5] = [
        0.0,
        -0.0,
        np.finfo(dtype).max,
        np.finfo(dtype).min,
        np.finfo(dtype).smallest_subnormal,
    ]
    order = np.argsort(x, kind="stable")
    P = otf.emd_1d(x, np.arange(n))
    np.testing.assert_array_equal(x[P.indices.argsort()], x[order])
    assert otf.wasserstein_1d(x, x[order]) == 0


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "int8", "int64", ">f8", "longdouble", "bool"]
)
def test_dtypes(dtype):
    x, y = np.array([1, 0, 1, 1]).astype(dtype), np.array([0, 1]).astype(dtype)
    assert otf.wasserstein_1d(x, y, p=2) == pytest.approx(0.5)
    assert otf.wasserstein_1d(list(x), tuple(y), period=10) == pytest.approx(0.25)


# ---- errors ------------------------------------------------------------------------------------

X, Y = np.zeros((2, 3)), np.zeros((2, 4))
WRONG = [
    (lambda: otf.wasserstein_1d(1.0, Y), ValueError, r"x must hold points \(..., n\).*got shape"),
    (lambda: otf.wasserstein_1d(X, []), ValueError, r"y must hold points .* got shape \(0,\)"),
    (lambda: otf.wasserstein_1d(X, np.zeros((3, 4))), ValueError, r"leading dimensions of x and y"),
    (lambda: otf.wasserstein_1d([[0, 0], [0, np.nan]], Y), ValueError, r"x\[1, 1\] = nan \(1 of 4"),
    (lambda: otf.wasserstein_1d([0.0], [1.0, -np.inf]), ValueError, r"y\[1\] = -inf \(1 of 2"),
    (lambda: otf.wasserstein_1d(["a"], [0.0]), TypeError, "x must hold real numbers"),
    (lambda: otf.wasserstein_1d([1j], [0.0]), TypeError, "take its real part"),
    (lambda: otf.wasserstein_1d(None, [0.0]), TypeError, "x must be a real array; got None"),
    (
        lambda: otf.wasserstein_1d(np.ma.masked_greater([0.0, 5.0], 1), [0.0]),
        ValueError,
        "x is a masked array .* leave those points out",
    ),
    (
        lambda: otf.wasserstein_1d(X, Y, np.ones(4)),
        ValueError,
        r"a must have shape \(3,\) or \(2, 3",
    ),
    (lambda: otf.wasserstein_1d(X, Y, None, [0, 1, -2, 0]), ValueError, r"b\[2\] = -2 \(1 of 4"),
    (lambda: otf.wasserstein_1d(X, Y, [1, np.nan, 1]), ValueError, r"a\[1\] = nan"),
    (
        lambda: otf.wasserstein_1d(X, Y, np.zeros(3)),
        ValueError,
        "a must have a positive, finite sum",
    ),
    (lambda: otf.wasserstein_1d(X, Y, np.ones(3), np.ones(4)), ValueError, "equal sums .* Rescale"),
    (
        lambda: otf.wasserstein_1d(X, Y, np.ones((2, 3)), [[1, 1, 1, 0], [1, 1, 1, 1]]),
        ValueError,
        "they are 3 and 4 in row 1",
    ),
    (lambda: otf.wasserstein_1d(X, Y, p=0.5), ValueError, "p must be >= 1; got 0.5.*cost matrix"),
    (lambda: otf.wasserstein_1d(X, Y, p=np.nan), ValueError, "p must be a finite real number"),
    (lambda: otf.wasserstein_1d(X, Y, p="2"), TypeError, "p must be"),
    (lambda: otf.wasserstein_1d(X, Y, period=0.0), ValueError, "period must be"),
    (lambda: otf.wasserstein_1d(X, Y, p=np.inf, period=1.0), ValueError, "at most 100 on a circle"),
    (lambda: otf.wasserstein_1d(X, Y, threads=0), ValueError, "threads must be"),
    (lambda: otf.emd_1d(X, Y), ValueError, r"one problem.*batch of shape \(2,\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_errors_name_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_sums_within_the_slack_are_made_equal():
    x, y, a, b = weighted(11, 20, 20)
    W = otf.wasserstein_1d(x, y, a, b)
    assert otf.wasserstein_1d(x, y, a, b * (1 + 1e-8)) == pytest.approx(W, rel=1e-13)
    single = otf.wasserstein_1d(x, y, a.astype(np.float32), b.astype(np.float32))
    assert single == pytest.approx(W, rel=1e-5)
    P = otf.emd_1d(x, y, a, b * (1 + 1e-8))
    np.testing.assert_allclose(P.sum(0), b, rtol=1e-7)
    np.testing.assert_allclose(P.sum(1), a, rtol=1e-14)
