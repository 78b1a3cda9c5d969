"""Sliced transport: closed forms, one-dimensional distances line by line, derivatives, ascents."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

import ot_fast as otf
from ot_fast import sliced

rng = np.random.default_rng(12)
X, Y = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) + 1
A, B = rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(30))
LINES = rng.normal(size=(20, 3))
LINES /= np.linalg.norm(LINES, axis=1, keepdims=True)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
def test_a_value_is_the_mean_of_powers_of_distances_on_lines(p):
    r = otf.sliced_wasserstein(X, Y, A, B, p=p, projections=LINES)
    W = np.array([otf.wasserstein_1d(X @ t, Y @ t, A, B, p) for t in LINES])
    np.testing.assert_allclose(r.values, W, rtol=1e-13)
    want = W.max() if math.isinf(p) else np.mean(W**p) ** (1 / p)
    assert r.value == pytest.approx(want, rel=1e-13)
    np.testing.assert_array_equal(r.projections, LINES)


@pytest.mark.parametrize("weights", [{}, {"a": A, "b": B}])
def test_agrees_with_pot(weights):
    for p in (1, 2):
        r = otf.sliced_wasserstein(X, Y, **weights, p=p, projections=LINES)
        want = ot.sliced_wasserstein_distance(X, Y, *weights.values(), p=p, projections=LINES.T)
        assert r.value == pytest.approx(want, rel=1e-10)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_shift_costs_its_length_over_the_root_of_the_dimension(d):
    x = rng.normal(size=(50, d))
    r = otf.sliced_wasserstein(x, x + np.eye(d)[0] * 3, p=2, n_projections=20_000, seed=1)
    assert r.value == pytest.approx(3 / math.sqrt(d), rel=0.02)
    assert otf.sliced_wasserstein(x, x, seed=1).value == 0


@pytest.mark.parametrize("p", [1, 2, 3, np.inf])
@pytest.mark.parametrize("weights", [(None, None), (A, B), (None, B)])
def test_derivatives_by_differences(p, weights):
    a, b = weights

    def at(x=X, y=Y, a=a, b=b):
        return otf.sliced_wasserstein(x, y, a, b, p=p, projections=LINES)

    r, h = at(), 1e-7
    u, v = rng.normal(size=X.shape), rng.normal(size=Y.shape)
    slope = (at(X + h * u, Y + h * v).value - at(X - h * u, Y - h * v).value) / (2 * h)
    assert (r.gradient_x * u).sum() + (r.gradient_y * v).sum() == pytest.approx(slope, rel=1e-5)
    if math.isinf(p):
        with pytest.raises(ValueError, match="p < inf"):
            _ = r.gradient_a
    elif a is not None:
        u, v = (w - w.mean() for w in (rng.normal(size=40), rng.normal(size=30)))
        plus, minus = (at(a=a + s * u, b=b + s * v).value for s in (h / 100, -h / 100))
        slope = (plus - minus) / (2 * h / 100)
        assert r.gradient_a @ u + r.gradient_b @ v == pytest.approx(slope, rel=1e-5)


def test_derivatives_are_zero_where_the_value_is():
    r = otf.sliced_wasserstein(X, X[::-1], seed=0)
    for gradient in (r.gradient_x, r.gradient_y, r.gradient_a, r.gradient_b):
        assert not gradient.any()


@pytest.mark.parametrize("weights", [(None, None), (A, B)])
def test_blocks_of_lines_do_not_change_the_result(monkeypatch, weights):
    options = {"n_projections": 37, "seed": 3}
    whole = otf.sliced_wasserstein(X, Y, *weights, **options)
    gradients = whole.gradient_x, whole.gradient_a
    monkeypatch.setattr(sliced, "BLOCK", 5 * 70)
    parts = otf.sliced_wasserstein(X, Y, *weights, **options)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-13)
    for one, other in zip((parts.gradient_x, parts.gradient_a), gradients, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-14)


def test_seeds_and_threads():
    one, same, other = (
        otf.sliced_wasserstein(X, Y, seed=s, threads=k).value for s, k in ((0, 1), (0, 2), (1, 1))
    )
    assert one == same != other
    assert otf.sliced_wasserstein(X, Y, seed=np.random.default_rng(0)).value == one
    assert len(otf.sliced_wasserstein(X, Y).values) == 100


def test_float32_points():
    x, y = X.astype(np.float32), Y.astype(np.float32)
    r = otf.sliced_wasserstein(x, y, projections=LINES)
    want = otf.sliced_wasserstein(X, Y, projections=LINES)
    assert r.value == pytest.approx(want.value, rel=1e-6)
    assert r.gradient_x.dtype == np.float32
    np.testing.assert_allclose(r.gradient_x, want.gradient_x, atol=1e-6)
    mixed = otf.sliced_wasserstein(x, Y, projections=LINES)
    assert (mixed.gradient_x.dtype, mixed.gradient_y.dtype) == (np.float32, np.float64)


def test_results_are_read_only_and_can_be_copied():
    r = otf.sliced_wasserstein(X, Y, seed=0)
    for again in (r, pickle.loads(pickle.dumps(r)), copy.deepcopy(r)):
        assert again.value == r.value
        np.testing.assert_array_equal(again.gradient_y, r.gradient_y)
        for array in (again.values, again.projections, again.gradient_x, again.gradient_b):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
    x = X.copy()
    r = otf.sliced_wasserstein(x, Y, seed=0)
    x[:] = 0
    np.testing.assert_array_equal(r.gradient_x, otf.sliced_wasserstein(X, Y, seed=0).gradient_x)


# ---- the line of the largest distance ----------------------------------------------------------


def test_the_largest_distance_of_a_shift_is_its_length():
    shift = np.array([1.0, -2.0, 2.0])
    r = otf.max_sliced_wasserstein(X, X + shift, seed=0)
    assert r.value == pytest.approx(3, rel=1e-6)
    assert abs(r.projections[0] @ shift) == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_an_ascent_beats_a_fine_grid_of_lines(p):
    x, y = X[:, :2] * [1, 3], Y[:, :2]
    angles = np.linspace(0, np.pi, 2000)
    grid = np.column_stack([np.cos(angles), np.sin(angles)])
    best = otf.sliced_wasserstein(x, y, A, B, p=p, projections=grid).values.max()
    r = otf.max_sliced_wasserstein(x, y, A, B, p=p, seed=0)
    assert r.value >= best * (1 - 1e-6)
    assert np.linalg.norm(r.projections[0]) == pytest.approx(1, rel=1e-14)
    first = otf.max_sliced_wasserstein(x, y, A, B, p=p, seed=0, max_iter=0)
    assert first.value <= r.value


def test_the_largest_distance_is_below_the_distance_of_the_clouds():
    a, b = np.full(40, 1 / 40), np.full(30, 1 / 30)
    W = math.sqrt(ot.emd2(a, b, cdist(X, Y, "sqeuclidean")))
    r = otf.max_sliced_wasserstein(X, Y, seed=0)
    assert otf.sliced_wasserstein(X, Y, seed=0).value < r.value < W


def test_equal_clouds_have_no_line():
    assert otf.max_sliced_wasserstein(X, X, seed=0).value == 0


# ---- errors ------------------------------------------------------------------------------------

WRONG = [
    (lambda: otf.sliced_wasserstein(X, Y[:, :2]), ValueError, "same dimension d; got 3 and 2"),
    (lambda: otf.sliced_wasserstein(X, np.zeros((2, 2, 2))), ValueError, "y must have shape"),
    (
        lambda: otf.sliced_wasserstein(X * np.nan, Y),
        ValueError,
        r"x must be finite; x\[0, 0\] = nan",
    ),
    (lambda: otf.sliced_wasserstein(X, Y, A[1:], B), ValueError, r"a must have shape \(40,\)"),
    (lambda: otf.sliced_wasserstein(X, Y, A, 2 * B), ValueError, "equal sums"),
    (lambda: otf.sliced_wasserstein(X, Y, p=0.9), ValueError, "p must be >= 1"),
    (lambda: otf.sliced_wasserstein(X, Y, n_projections=0), ValueError, "n_projections must be"),
    (lambda: otf.sliced_wasserstein(X, Y, n_projections=2.0), TypeError, "n_projections must be"),
    (
        lambda: otf.sliced_wasserstein(X, Y, projections=LINES, seed=0),
        ValueError,
        "leave out n_projections and seed",
    ),
    (
        lambda: otf.sliced_wasserstein(X, Y, projections=LINES.T),
        ValueError,
        r"projections must have shape \(k, 3\); got \(3, 20\)",
    ),
    (lambda: otf.sliced_wasserstein(X, Y, projections=LINES * np.inf), ValueError, "finite"),
    (lambda: otf.max_sliced_wasserstein(X, Y, p=np.inf), ValueError, "p must be finite"),
    (lambda: otf.max_sliced_wasserstein(X, Y, max_iter=-1), ValueError, "max_iter must be"),
    (
        lambda: otf.max_sliced_wasserstein(X, Y, projections=np.zeros((1, 3))),
        ValueError,
        r"must not be zero; projections\[0\] is",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_errors_name_what_is_wrong(call, error, message):
    with pytest.raises(error, match=message):
        call()
