"""Where reg starts, and the least reg that float64 resolves."""

from __future__ import annotations

import emulated
import numpy as np
import pytest
from emulated import DeviceArray
from problems import COSTS, clouds, exact_ot, pairwise, spec

import ot_fast as otf
from ot_fast._geometry.points import MEDIANS

# ---- the scale of costs -------------------------------------------------------------------------


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 3, 40])
def test_the_scale_of_a_cloud_is_that_of_its_matrix(cost, d):
    x, y = clouds(300, 200, d, seed=2)
    C = pairwise(x, y, cost)
    scale = otf.PointCloud(x, y, **spec(cost)).scale
    above = C[C > 0]
    low, high = MEDIANS * np.quantile(above, [0.3, 0.7])
    assert min(low, C.max()) <= scale <= max(high, C.max())


def test_the_scale_does_not_depend_on_a_grid_or_on_outliers():
    s = np.linspace(0, 1, 64)
    grid = np.stack(np.meshgrid(s, s), -1).reshape(-1, 2)
    median = np.median(pairwise(grid[::5], grid[::7], "sqeuclidean"))
    assert otf.PointCloud(grid, grid).scale == pytest.approx(min(MEDIANS * median, 2), rel=0.25)
    x, y = np.random.default_rng(0).standard_t(2, size=(2, 400, 2))
    plain = otf.PointCloud(x, y).scale
    x[7] = 1e6
    assert otf.PointCloud(x, y).scale == pytest.approx(plain, rel=0.2)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("shape", [(40, 40), (90, 31), (1, 5)])
def test_the_scale_of_the_transpose_has_the_same_bits(cost, shape):
    x, y = clouds(*shape, 3, seed=4)
    one, two = (otf.PointCloud(u, v, **spec(cost)).scale for u, v in ((x, y), (y, x)))
    assert one == two


@pytest.mark.skipif(bool(emulated.available()), reason=emulated.available())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_scale_of_a_device_cloud_has_the_same_bits(monkeypatch, dtype):
    emulated.install(monkeypatch)
    x, y = (v.astype(dtype) for v in clouds(60, 50, 3))
    device = otf.PointCloud(DeviceArray(x), DeviceArray(y), "power", p=2.5)
    assert device.scale == otf.PointCloud(x, y, "power", p=2.5).scale


def test_equal_points_and_extreme_units():
    assert otf.PointCloud(np.ones((3, 2)), np.ones((4, 2))).scale == 0
    x, y = clouds(30, 20, 2)
    for unit in (1e-180, 1e180):
        cloud = otf.PointCloud(unit * x, unit * y, "euclidean")
        assert 0 < cloud.scale <= cloud.range


@pytest.mark.parametrize("p", [10.0, 15.0])
@pytest.mark.parametrize("outlier", [False, True])
def test_high_powers_take_as_many_passes_as_others(p, outlier):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 0.5
    if outlier:
        x[3] *= 3
    cloud = otf.PointCloud(x, y, "power", p=p)
    r = otf.sinkhorn(None, None, cloud, 0.1 * np.median(cloud.to_dense()), tol=1e-6)
    assert r.converged
    assert r.n_iter < 120  # from the bounding box: 349 and 243, or none


# ---- the least reg ------------------------------------------------------------------------------


def plain(C):
    return C


def sentinel(C):
    C[3, 4] = 1e6
    return C


def huge_sentinel(C):
    C[3, 4] = 1e32
    return C


def far_row(C):
    C[3] += 1e6
    return C


KINDS = [plain, sentinel, huge_sentinel, far_row]


def problem(kind, dtype="float64"):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(25, 2))
    C = ((x[:, None] - y) ** 2).sum(-1)
    return rng.dirichlet(np.ones(20)), rng.dirichlet(np.ones(25)), kind(C).astype(dtype)


def assert_usable(r, a, b):
    """The plan's rows or columns are exact to the digits that are left: entries are at most a_i, or
    b_j.
    """
    P = np.asarray(r.plan, np.float64)
    assert np.isfinite(P).all()
    assert min(np.abs(P.sum(1) - a).sum(), np.abs(P.sum(0) - b).sum()) < 1e-2
    error = max(np.abs(P.sum(1) - a).sum(), np.abs(P.sum(0) - b).sum())
    assert r.marginal_error == pytest.approx(error, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reg", [1e-14, 1e-22, 1e-100, 1e-290])
@pytest.mark.parametrize("method", ["auto", "scaling", "log", "sns"])
def test_a_reg_that_is_not_resolved(kind, reg, method):
    a, b, C = problem(kind)
    options = {"method": method, "max_iter": 3000, "on_fail": "ignore"}
    r = otf.sinkhorn(a, b, C, reg, **options)
    assert r.status is otf.Status.UNRESOLVED
    assert not r.converged
    assert f"at reg = {r.reg:g} (unresolved): float64 resolves no plan" in r.message
    size = max(abs(r.f).max(), abs(r.g).max())
    assert reg < r.reg <= 1e-9 * size
    assert_usable(r, a, b)
    if method == "auto":  # the plan is close to a vertex
        best = exact_ot(a, b, C)
        assert r.value_linear == pytest.approx(best, rel=1e-4 + r.marginal_error)
        assert r.lower_bound <= best * (1 + 1e-9)
        assert best * (1 - 1e-9) <= r.upper_bound


@pytest.mark.parametrize("kind", KINDS)
def test_a_reg_that_is_resolved_stays(kind):
    a, b, C = problem(kind)
    for reg in (1.0, 1e-2, 1e-4):
        r = otf.sinkhorn(a, b, C, reg, on_fail="ignore")
        assert r.reg == reg
        assert r.status in (otf.Status.CONVERGED, otf.Status.STALLED)
        assert r.marginal_error < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reg", [1e-14, 1e-22])
def test_float32_costs(kind, reg):
    a, b, C = problem(kind, "float32")
    r = otf.sinkhorn(a, b, C, reg, on_fail="ignore", max_iter=3000)
    assert r.status is otf.Status.UNRESOLVED
    assert_usable(r, a, b)


@pytest.mark.parametrize("reg", [1e-20, 1e-200])
def test_starts(reg):
    a, b, C = problem(plain)
    given = np.ones(20), np.ones(25)
    for init in (given, otf.sinkhorn(a, b, C, 0.1)):
        r = otf.sinkhorn(a, b, C, reg, init=init, on_fail="ignore", max_iter=3000)
        assert r.status is otf.Status.UNRESOLVED
        assert r.reg < 1e-8
        assert_usable(r, a, b)
    for init in (None, given):
        r = otf.sinkhorn(a, b, C, reg, init=init, max_iter=0, on_fail="ignore")
        assert r.status is otf.Status.UNRESOLVED
        assert r.reg < 1e-8
        assert np.isfinite(r.plan).all()
    assert_usable(otf.sinkhorn(a, b, C, reg, max_iter=0, on_fail="ignore"), a, b)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
@pytest.mark.parametrize("reg", [1e-10, 1e-20, 1e-299])
def test_one_line_has_one_plan_at_any_reg(shape, reg):
    rng = np.random.default_rng(0)
    C = 1e3 * rng.random(shape)
    r = otf.sinkhorn(None, None, C, reg)
    assert r.converged
    np.testing.assert_allclose(r.plan, np.full(shape, 0.2), rtol=1e-9)
    np.testing.assert_allclose(np.add.outer(r.f, r.g), C, rtol=1e-9)


def test_on_fail_raises():
    a, b, C = problem(plain)
    with pytest.raises(otf.ConvergenceError, match="unresolved"):
        otf.sinkhorn(a, b, C, 1e-20, on_fail="raise")


def test_a_path_goes_on_from_the_least_reg():
    a, b, C = problem(plain)
    one, two, three = otf.sinkhorn_path(a, b, C, [0.1, 1e-20, 1e-30], on_fail="ignore")
    assert one.converged
    assert two.status is three.status is otf.Status.UNRESOLVED
    assert_usable(three, a, b)


@pytest.mark.parametrize("unbalanced", [None, 1.0])
def test_losses_follow_the_same_rule(unbalanced):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(20, 2))
    options = {"unbalanced": unbalanced, "on_fail": "ignore", "max_iter": 3000}
    for reg in (1e-14, 1e-30):
        d = otf.sinkhorn_divergence(x, y, reg=reg, **options)
        assert d.status is otf.Status.UNRESOLVED
        assert not d.converged
        assert d.reg > reg
        assert "float64 resolves no plan" in d.message
        assert np.isfinite(d.value)
        assert np.isfinite(d.gradient_x).all()
    if unbalanced is None:
        best = exact_ot(np.full(30, 1 / 30), np.full(20, 1 / 20), pairwise(x, y, "sqeuclidean"))
        assert d.value == pytest.approx(best, rel=1e-3)


def test_one_outlier_does_not_refuse_a_loss():
    rng = np.random.default_rng(0)
    x, y = rng.standard_t(2, size=(60, 2)), rng.standard_t(2, size=(60, 2))
    cloud = otf.PointCloud(x, y, "power", p=10.0)
    reg = 0.01 * float(np.median(cloud.to_dense()))
    assert reg < 1e-12 * cloud.range
    d = otf.sinkhorn_divergence(cloud, reg=reg)
    r = otf.sinkhorn(None, None, cloud, reg, tol=1e-6)
    assert d.converged
    assert d.transport == pytest.approx(r.value, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reg", [1e-10, 1e-30, 1e-200])
def test_sparse_plans_become_vertices(kind, reg):
    a, b, C = problem(kind)
    best = exact_ot(a, b, C)
    r = otf.quadratic(a, b, C, reg)
    assert r.converged
    P = r.sparse_plan.toarray()
    np.testing.assert_allclose(P.sum(1), a, atol=1e-9)
    np.testing.assert_allclose(P.sum(0), b, atol=1e-9)
    excess = (P * C).sum() - best
    assert -1e-9 <= excess <= (r.gap + 1e-9 if kind is huge_sentinel else 1e-9)
    r = otf.sparsity_constrained(a, b, C, reg, 6, on_fail="ignore")
    P = r.sparse_plan.toarray()
    assert (np.minimum.outer(a, b) * (1 + 1e-6) >= P).all()
    assert r.converged == (max(abs(P.sum(1) - a).sum(), abs(P.sum(0) - b).sum()) <= r.tol)


@pytest.mark.parametrize("method", ["newton", "log"])
def test_costs_that_overflow_float32_over_reg(method):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40, 3))
    x[7] *= 1e6
    r = otf.sinkhorn(
        None, None, otf.PointCloud(x, y, "power", p=10), 1.0, method=method, on_fail="ignore"
    )
    assert r.status is otf.Status.UNRESOLVED
    assert r.reg > 1
    assert np.isfinite(r.plan).all()
    assert np.isfinite([*r.f, *r.g, r.value, r.lower_bound, r.upper_bound]).all()
    gap = otf.monge_gap(x, y, reg=1.0, cost="power", p=10, on_fail="ignore")
    assert gap.status is otf.Status.UNRESOLVED
    assert np.isfinite(gap.value)
    assert np.isfinite(gap.gradient).all()
