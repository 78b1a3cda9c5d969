"""Geometries: costs against SciPy, point clouds against their own dense matrix."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import COSTS, clouds, marginal_error, pairwise, random_problem, spec

import ot_fast as otf
from ot_fast import _costs

# around the widths of vectors and tiles
SIZES = [(1, 1), (2, 3), (7, 8), (9, 7), (15, 17), (64, 63), (65, 64), (127, 129), (255, 257)]
DIMENSIONS = [1, 2, 3, 4, 5, 8, 15, 16, 17, 64, 100]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("d", DIMENSIONS)
def test_costs_are_those_of_scipy(cost, dtype, d):
    x, y = clouds(33, 70, d, seed=d, dtype=dtype)
    cloud, expected = otf.PointCloud(x, y, **spec(cost)), pairwise(x, y, cost)
    assert cloud.shape == (33, 70)
    assert cloud.dtype == dtype
    dense = cloud.to_dense()
    assert dense.dtype == dtype
    scale = max(1.0, expected.max())
    tol = 32 * np.finfo(dtype).eps * scale
    np.testing.assert_allclose(dense, expected, rtol=0, atol=tol)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("n", "m"), SIZES)
@pytest.mark.parametrize("d", [2, 17])
def test_cloud_solves_as_its_dense_matrix(cost, n, m, d):
    x, y = clouds(n, m, d, seed=n + m)
    cloud, C = otf.PointCloud(x, y, **spec(cost)), pairwise(x, y, cost)
    reg = 0.2 * max(C.max(), 1e-3)
    lazy, dense = (otf.sinkhorn(None, None, c, reg, tol=1e-12) for c in (cloud, C))
    np.testing.assert_allclose(lazy.plan, dense.plan, rtol=0, atol=1e-10 / max(n, m))
    fields = ("value", "value_linear", "dual_value", "lower_bound", "upper_bound")
    got, expected = ([getattr(r, k) for k in fields] for r in (lazy, dense))
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * C.max())
    P, ones = lazy.plan, np.ones(m)
    np.testing.assert_allclose(lazy.plan_operator @ ones, P.sum(1), rtol=1e-12)
    np.testing.assert_allclose(lazy.sparsify(top_k=1).max(axis=1).toarray().ravel(), P.max(1))


@pytest.mark.parametrize("method", ["scaling", "log"])
@pytest.mark.parametrize("d", [2, 16, 64])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e7])
def test_far_from_the_origin_nothing_cancels(method, d, offset):
    x, y = clouds(40, 50, d, seed=3)
    x, y = (np.round(v * 2**10) / 2**10 + offset for v in (x, y))  # the shift is exact
    C = pairwise(x - offset, y - offset, "sqeuclidean")
    reg = 0.01 * C.max()
    r = otf.sinkhorn(
        None, None, otf.PointCloud(x, y), reg, method=method, tol=1e-6, max_iter=20_000
    )
    assert marginal_error(r.plan, np.full(40, 1 / 40), np.full(50, 1 / 50)) <= 1e-6
    gibbs = np.exp((r.f[:, None] + r.g - C) / reg) / 2000
    np.testing.assert_allclose(r.plan, gibbs, rtol=1e-9, atol=1e-30)


def test_squared_distances_of_near_points_are_not_rounding():
    x = 1.0 + 1e-7 * np.arange(5.0)[:, None]
    expected = pairwise(x, x, "sqeuclidean")
    np.testing.assert_allclose(otf.PointCloud(x, x).to_dense(), expected, rtol=1e-6, atol=0)
    for cost in ("sqeuclidean", "euclidean", "cityblock"):
        assert not np.diag(otf.PointCloud(x, x, cost=cost).to_dense()).any()


@given(st.integers(-140, 140), st.sampled_from(COSTS[:3]))
def test_coordinates_of_any_scale(exponent, cost):
    x, y = clouds(6, 7, 3, seed=4)
    unit = otf.sinkhorn(None, None, otf.PointCloud(x, y, cost=cost), 2.0, tol=1e-12)
    s = 10.0**exponent
    cost_scale = s * s if cost == "sqeuclidean" else s
    cloud = otf.PointCloud(s * x, s * y, cost=cost)
    r = otf.sinkhorn(None, None, cloud, 2.0 * cost_scale, tol=1e-12)
    np.testing.assert_allclose(r.plan, unit.plan, rtol=0, atol=1e-11)
    assert r.value == pytest.approx(unit.value * cost_scale, rel=1e-9)


def test_dense_cost_is_the_array():
    C = np.random.default_rng(5).random((20, 30))
    wrapped, plain = (otf.sinkhorn(None, None, c, 0.1) for c in (otf.DenseCost(C), C))
    np.testing.assert_array_equal(wrapped.plan, plain.plan)
    assert otf.DenseCost(C).shape == (20, 30)
    assert otf.DenseCost(C).dtype == np.float64
    np.testing.assert_array_equal(otf.DenseCost(C).to_dense(), C)


@pytest.mark.parametrize("method", ["scaling", "log"])
@pytest.mark.parametrize("hard", [False, True])
def test_memory_order_is_invisible(method, hard):
    a, b, C = random_problem(40, 30, seed=5)
    if hard:
        a[3], b[7], C[0, 1:9] = 0, 0, np.inf
        a, b = a / a.sum(), b / b.sum()
    start = otf.sinkhorn(a, b, C, 0.1, tol=1e-13).potentials
    for options in ({"tol": 1e-12}, {"init": start, "max_iter": 0, "on_fail": "ignore"}):
        by_rows, by_columns = (
            otf.sinkhorn(a, b, np.array(C, order=order), 0.1, method=method, **options)
            for order in "CF"
        )
        for read in (
            lambda r: r.plan,
            lambda r: np.add.outer(r.f, r.g) * np.outer(a > 0, b > 0),
            lambda r: r.sparsify(top_k=3).toarray(),
            lambda r: r.sparsify(threshold=1e-3).toarray(),
            lambda r: r.sparsify(mass=0.9).toarray(),
            lambda r: r.plan_operator @ np.arange(30.0),
            lambda r: r.plan_operator.T @ np.arange(40.0),
            lambda r: [r.value, r.value_linear, r.dual_value, r.lower_bound, r.upper_bound],
        ):
            got, expected = read(by_columns), read(by_rows)
            np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-11)


def test_cloud_is_reusable_at_another_reg():
    x, y = clouds(30, 20, 2)
    cloud = otf.PointCloud(x, y)
    first = otf.sinkhorn(None, None, cloud, 5.0).plan
    otf.sinkhorn(None, None, cloud, 1.0)
    np.testing.assert_array_equal(otf.sinkhorn(None, None, cloud, 5.0).plan, first)


@pytest.mark.parametrize("name", ["x", "y"])
def test_changing_coordinates_later_does_not_change_a_result(name):
    x, y = clouds(30, 20, 2)
    r = otf.sinkhorn(None, None, otf.PointCloud(x, y), 5.0)
    twin = otf.sinkhorn(None, None, otf.PointCloud(x.copy(), y.copy()), 5.0)
    {"x": x, "y": y}[name][:] = 0
    np.testing.assert_array_equal(r.plan, twin.plan)
    assert r.value == twin.value


def test_more_pairs_than_32_bits_count():
    n, reg = 47_000, 100.0  # n * n > 2^31
    x = np.linspace(0, 1, n, dtype="float32")
    r = otf.sinkhorn(None, None, otf.PointCloud(x, x), reg, max_iter=1, tol=1e-3)
    # at large reg, f_i is the mean of C_i over the target, and x, y are nearly independent
    np.testing.assert_allclose(r.f - r.f.mean(), (x - 0.5) ** 2 - 1 / 12, rtol=0, atol=3e-3)
    assert r.value_linear == pytest.approx(1 / 6, abs=3e-3)


# ---- one table of costs -----------------------------------------------------------------------


def test_the_table_of_costs_is_complete():
    assert tuple(_costs.COSTS) == COSTS


@pytest.mark.parametrize("cost", COSTS)
def test_costs_of_pairs_and_their_bound(cost):
    x, y = clouds(30, 30, 3, seed=1)
    ground = _costs.cost_of(**{"name": cost, "p": spec(cost)["p"]})
    C = pairwise(x, y, cost)
    np.testing.assert_allclose(ground.value(x, y), np.diag(C), rtol=1e-12, atol=1e-14)
    value, gradient = ground.value_and_gradient(x, y)
    np.testing.assert_allclose(value, np.diag(C), rtol=1e-12, atol=1e-14)
    v = np.random.default_rng(0).normal(size=y.shape)
    h = 1e-7
    slope = (ground.value(x, y + h * v) - ground.value(x, y - h * v)) / (2 * h)
    np.testing.assert_allclose((gradient * v).sum(1), slope, rtol=1e-5, atol=1e-6)
    side = np.maximum(x.max(0) - y.min(0), y.max(0) - x.min(0))
    assert C.max() <= ground.bound(side)
    if ground.degree is not None:
        scaled = ground.value(4 * x, 4 * y)
        np.testing.assert_array_equal(scaled, 4.0**ground.degree * ground.value(x, y))


@pytest.mark.parametrize("cost", COSTS)
def test_costs_of_pairs_of_a_geometry(cost):
    x, y = clouds(30, 20, 3, seed=1)
    i, j = np.arange(20) + 7, np.arange(20)[::-1]
    cloud = otf.PointCloud(x, y, **spec(cost))
    want = pairwise(x, y, cost)[i, j]
    np.testing.assert_allclose(cloud.pair_costs()(i, j), want, rtol=1e-12)
    np.testing.assert_array_equal(otf.DenseCost(cloud.to_dense()).pair_costs()(i, j).shape, 20)


# ---- copies -----------------------------------------------------------------------------------


def geometries():
    x, y = clouds(12, 9, 3)
    wide = np.random.default_rng(0).random((9, 24))
    yield otf.PointCloud(x, y, "power", p=1.5)
    yield otf.PointCloud(1e200 * x, 1e200 * y, "euclidean")
    yield otf.DenseCost(wide[:, :12].T)
    yield otf.DenseCost(wide[:, ::2].T)
    yield otf.DenseCost(np.random.default_rng(0).random((18, 12)).T[:, ::2])  # strided columns
    yield otf.DenseCost(1e305 * wide[:, :12].T)
    yield otf.DenseCost(np.where(wide < 0.1, np.inf, wide)[:, :12].astype("float32"))


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, copy.copy, lambda g: pickle.loads(pickle.dumps(g))]
)
def test_geometries_are_copied_and_pickled(copied, used):
    for geometry in geometries():
        reg = 0.1 * float(np.ldexp(geometry.scale, geometry.exponent))
        if used:
            otf.sinkhorn(None, None, geometry, reg)
        twin = copied(geometry)
        assert "_made" not in vars(twin)
        assert repr(twin) == repr(geometry)
        assert twin.transposed == geometry.transposed
        one, two = (otf.sinkhorn(None, None, g, reg) for g in (geometry, twin))
        np.testing.assert_array_equal(one.plan, two.plan)
        np.testing.assert_array_equal(twin.to_dense(), geometry.to_dense())


def test_a_geometry_is_given_to_the_core_when_it_is_first_used():
    x, y = clouds(12, 9, 3)
    for geometry in (otf.PointCloud(x, y), otf.DenseCost(pairwise(x, y, "euclidean"))):
        assert "_made" not in vars(geometry)
        otf.sinkhorn(None, None, geometry, 0.5)
        handle = geometry.handle
        otf.sinkhorn(None, None, geometry, 0.1)
        assert geometry.handle is handle


def test_costs_beyond_the_range_of_the_points():
    x = np.full((2, 1), 1e6, "float32")
    with pytest.raises(ValueError, match=r"float32 points must be below 1e\+38; they are up to"):
        otf.PointCloud(x, -x, "power", p=9.0)
