"""CUDA arrays: on the GPU where there is one, and on an emulated device everywhere.

Results are checked against the CPU backend on the same data, and by the plan's own marginals.
"""

from __future__ import annotations

import copy
import importlib.util
import pickle
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp
from emulated import DeviceArray, Emulated, available, install, install_jax, install_torch
from problems import COSTS, spec
from registry import LEAVING_OUT, SOLVERS, Problem, bits, check_close, fields

import ot_fast as otf
from ot_fast._arrays import place_of
from ot_fast._entropic_cost import entropic_cost
from ot_fast._implicit import plan_vjp


class Adapter:
    """How the tests make and read arrays of a library."""

    def __init__(self, name, put, host, counts=None):
        self.name, self.put, self.host, self.counts = name, put, host, counts


def missing(name):
    """Why a library cannot run on a GPU here; empty if it can."""
    cuda = otf.info()["cuda"]
    if cuda["reason"]:
        return cuda["reason"]
    if importlib.util.find_spec(name) is None:
        return f"{name} is not installed"
    return ""


def gpu_adapter(name):
    if reason := missing(name):
        pytest.skip(reason)
    if name == "cupy":
        import cupy

        return Adapter(name, cupy.asarray, cupy.asnumpy)
    import torch

    return Adapter(name, lambda v: torch.as_tensor(v, device="cuda"), lambda v: v.cpu().numpy())


@pytest.fixture(
    params=[
        "emulated",
        "emulated-torch",
        "emulated-jax",
        pytest.param("cupy", marks=pytest.mark.gpu),
        pytest.param("torch", marks=pytest.mark.gpu),
    ]
)
def cuda(request, monkeypatch):
    name = request.param
    if not name.startswith("emulated"):
        yield gpu_adapter(name)
        return
    if reason := available():
        pytest.skip(reason)
    if name == "emulated":
        counts = install(monkeypatch)
        yield Adapter(name, lambda v: DeviceArray(np.array(v)), lambda v: v.get(), counts)
    elif name == "emulated-torch":
        torch = pytest.importorskip("torch", reason="the torch extra is not installed")
        install_torch(monkeypatch)
        yield Adapter(name, lambda v: torch.as_tensor(np.array(v)), lambda v: v.numpy())
    else:
        jax = pytest.importorskip("jax", reason="the jax extra is not installed")
        install_jax(monkeypatch)
        with jax.enable_x64(True):
            yield Adapter(name, jax.numpy.asarray, np.asarray)


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


def problem(dtype, n=40, m=30, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    return a / a.sum(), b / b.sum(), rng.random((n, m)).astype(dtype)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_agrees_with_the_cpu(cuda, dtype, name):
    solver, dtype = SOLVERS[name], np.dtype(dtype).name
    options = {"tol": solver.tight[dtype], "on_fail": "raise"}
    for kind in {solver.kinds[0], solver.kinds[-1]}:
        there = Problem(kind, dtype, cuda.put)
        got, again = (solver.solve(there, **options) for _ in range(2))
        want = solver.solve(Problem(kind, dtype), **options)
        found = fields(got, solver.answer, cuda.host)
        check_close(found, fields(want, solver.answer), solver.close[dtype], kind)
        assert bits(again, solver, cuda.host) == bits(got, solver, cuda.host)


LINES = np.arange(0, 67, 3), np.arange(5, 90, 4)


@pytest.mark.parametrize("name", LEAVING_OUT)
def test_lines_without_weight_are_left_out(cuda, dtype, name):
    solver, dtype = SOLVERS[name], np.dtype(dtype).name
    options = {"tol": solver.tight[dtype], "on_fail": "raise"}
    for kind in {solver.kinds[0], solver.kinds[-1]}:
        got = solver.solve(Problem(kind, dtype, cuda.put, weighted=LINES), **options)
        want = solver.solve(Problem(kind, dtype, weighted=LINES), **options)
        names = {"plan", "gradient_x", "gradient_y", "f", "g"} & {*solver.answer, *solver.run}
        names = (*solver.answer, *(names - {"f", "g"}))
        found = fields(got, names, cuda.host)
        check_close(found, fields(want, names), solver.close[dtype], kind)


def test_what_is_read_from_a_plan_without_lines_that_have_no_weight(cuda, dtype):
    p, there = (Problem("dense", dtype, put, weighted=LINES) for put in (np.asarray, cuda.put))
    want, got = (otf.sinkhorn(v.a, v.b, v.C, 0.05, tol=1e-6) for v in (p, there))
    tol = 1e-4 if dtype is np.float32 else 1e-9
    G = np.random.default_rng(0).random((67, 90))
    for ours, theirs in zip(got.plan_vjp(cuda.put(G)), want.plan_vjp(G), strict=True):
        np.testing.assert_allclose(cuda.host(ours), theirs, atol=1e3 * tol)
    V = np.random.default_rng(1).random((90, 2))
    out = cuda.host(got.plan_operator @ cuda.put(V))
    np.testing.assert_allclose(out, want.plan_operator @ V, atol=tol)
    assert otf.sinkhorn(there.a, there.b, there.C, 0.05, tol=1e-6, init=got).n_iter <= 2
    with pytest.raises(ValueError, match=r"90|mismatch"):
        got.plan_operator @ cuda.put(V[:40])


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_point_clouds(cuda, dtype, cost, d):
    rng = np.random.default_rng(d)
    x, y = (rng.random((k, d)).astype(dtype) + 0.1 for k in (35, 45))
    geometry = otf.PointCloud(cuda.put(x), cuda.put(y), **spec(cost))
    want = otf.PointCloud(x, y, **spec(cost))
    scale = want.to_dense().max() + 1e-30
    C = cuda.host(geometry.to_dense())
    np.testing.assert_allclose(
        C, want.to_dense(), atol=3e-6 * scale if dtype is np.float32 else 1e-14
    )
    reg = 0.1 * max(float(scale), 1e-3)  # cosines in one dimension differ by rounding only
    r, s = otf.sinkhorn(None, None, geometry, reg), otf.sinkhorn(None, None, want, reg)
    assert r.converged
    assert r.value == pytest.approx(
        s.value, rel=1e-4 if dtype is np.float32 else 1e-8, abs=1e-6 * reg
    )


def test_results_come_back_where_the_costs_are(cuda):
    a, b, C = (cuda.put(v) for v in problem(np.float64))
    r = otf.sinkhorn(a, b, C, 0.05)
    for name in ("a", "b", "f", "g", "plan"):
        assert type(getattr(r, name)) is type(C), name
    V = np.random.default_rng(1).random((30, 3))
    P = cuda.host(r.plan)
    np.testing.assert_allclose(cuda.host(r.plan_operator @ cuda.put(V)), P @ V, rtol=1e-12)
    V = np.random.default_rng(1).random(40)
    np.testing.assert_allclose(cuda.host(r.plan_operator.T @ cuda.put(V)), P.T @ V, rtol=1e-12)


def dense(matrix):
    for convert in ("get", "cpu"):
        matrix = getattr(matrix, convert, lambda m=matrix: m)()
    return matrix.toarray() if sp.issparse(matrix) else matrix.to_dense().numpy()


@pytest.mark.parametrize("order", ["C", "F"])
def test_sparse_plans(cuda, order):
    a, b, C = problem(np.float64)
    C = np.asarray(C, order=order)
    r = otf.sinkhorn(
        cuda.put(a), cuda.put(b), cuda.put(C) if order == "C" else cuda.put(C.T).T, 0.02
    )
    P = cuda.host(r.plan)
    cut = float(np.median(P))
    np.testing.assert_allclose(
        dense(r.sparsify(threshold=cut)), np.where(cut <= P, P, 0), rtol=1e-9
    )
    for fraction in (0.5, 0.99, 1.0):
        S = dense(r.sparsify(mass=fraction))
        assert S.sum() >= fraction * P.sum() * (1 - 1e-9)
        kept = np.sort(P[S > 0])
        assert P[S == 0].max(initial=0) <= kept[0] * (1 + 1e-9)  # the largest are kept
        assert S.sum() - kept[0] < fraction * P.sum()  # and none too many
    assert (np.diff(sp.csr_array(dense(r.sparsify(top_k=2))).indptr) == 2).all()


def test_column_major_and_strided_costs(cuda):
    a, b, C = problem(np.float64)
    want = otf.sinkhorn(a, b, C, 0.05).value
    wide = np.empty((40, 64))
    wide[:, :30] = C
    for given in (cuda.put(np.ascontiguousarray(C.T)).T, cuda.put(wide)[:, :30]):
        r = otf.sinkhorn(cuda.put(a), cuda.put(b), given, 0.05)
        assert r.value == pytest.approx(want, rel=1e-9)
        assert cuda.host(r.plan).shape == (40, 30)


def test_nothing_moves_between_devices_by_itself(cuda):
    a, b, C = problem(np.float64)
    for args in (
        (a, cuda.put(b), cuda.put(C)),
        (cuda.put(a), None, C),
        ([1.0] * 40, None, cuda.put(C)),
    ):
        with pytest.raises(TypeError, match="lives in"):
            otf.sinkhorn(*args, 0.1)
    with pytest.raises(TypeError, match="lives in"):
        otf.PointCloud(C, cuda.put(C))
    with pytest.raises(TypeError, match="lives in"):
        otf.sinkhorn(None, None, cuda.put(C), 0.1, init=(a, None))
    with pytest.raises(ValueError, match="threads"):
        otf.sinkhorn(None, None, cuda.put(C), 0.1, threads=2)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 3, 9])
@pytest.mark.parametrize("rho", [np.inf, 0.5])
def test_gradients_in_the_points(cuda, dtype, cost, d, rho):
    rng = np.random.default_rng(d)
    x, y = (rng.normal(size=(k, d)).astype(dtype) for k in (45, 35))
    a, h, phi = rng.random(45), rng.normal(size=35), np.full(45, np.nan)
    out = []
    for cloud in (
        otf.PointCloud(x, y, **spec(cost)),
        otf.PointCloud(cuda.put(x), cuda.put(y), **spec(cost)),
    ):
        f, gradient = phi.copy(), cloud.place.empty((45, d), np.float64)
        plan = cloud.core.Plan(cloud.handle, a, 0.3, phi, h)
        cloud.core.gradient(plan, rho, f, gradient, cloud.place.where())
        out.append((f, cloud.place.host(cloud.place.finished(gradient))))
    tol = 1e-11 if dtype is np.float64 else 1e-4
    for got, want in zip(*out[::-1], strict=True):
        # The cosine in one dimension is constant: its gradient is all rounding.
        np.testing.assert_allclose(got, want, atol=tol * max(1, abs(want).max()))


# ---- losses -----------------------------------------------------------------------------------


def clouds(n=24, m=31, d=2, dtype=np.float64):
    rng = np.random.default_rng(d)
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    x, y = rng.normal(size=(n, d)), 0.5 + 1.5 * rng.normal(size=(m, d))
    return x.astype(dtype), y.astype(dtype), a / a.sum(), b / b.sum()


def agree(cuda, got, want, dtype, like, names):
    """Fields of two results are equal; arrays are the caller's, and of one dtype on both sides."""
    tol = 1e-9 if dtype is np.float64 else 2e-4
    for name in names:
        u, v = getattr(got, name), getattr(want, name)
        if isinstance(v, np.ndarray):
            assert type(u) is type(like), name
            u = cuda.host(u)
            assert u.dtype == v.dtype, name
            scale = max(abs(v).max(), 1e-3)
            np.testing.assert_allclose(u, v, rtol=0, atol=tol * scale, err_msg=name)
        else:
            assert u == pytest.approx(v, rel=tol, abs=tol), name


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("d", "debias"), [(2, False), (9, True)])
def test_monge_gaps_agree_with_the_cpu(cuda, dtype, cost, d, debias):
    x, y, _, _ = clouds(30, 30, d, dtype)
    options = {"debias": debias, "tol": 1e-12 if dtype is np.float64 else 1e-6, **spec(cost)}
    gx = cuda.put(x)
    got = otf.monge_gap(gx, cuda.put(y), **options)
    want = otf.monge_gap(x, y, **options)
    assert got.converged
    names = ("value", "transport", "displacement", "reg", "gradient", "gradient_x")
    agree(cuda, got, want, dtype, gx, names)
    for u, v in zip(got.potentials, want.potentials, strict=True):
        assert type(u) is type(gx)
        np.testing.assert_allclose(
            np.diff(cuda.host(u)), np.diff(v), atol=1e-9 if dtype is np.float64 else 1e-3
        )


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("rho", [None, 0.7])
def test_divergences_agree_with_the_cpu(cuda, dtype, cost, rho):
    x, y, a, b = clouds(dtype=dtype)
    a[::5], b[3] = 0, 0
    a, b = (2 * w / w.sum() for w in (a, b))
    options = {"reg": 0.3, "unbalanced": rho, "tol": 1e-12 if dtype is np.float64 else 1e-6}
    options |= spec(cost)
    given = [cuda.put(v) for v in (x, y, a, b)]
    got, want = (
        otf.sinkhorn_divergence(*given, **options),
        otf.sinkhorn_divergence(x, y, a, b, **options),
    )
    assert got.converged
    names = ("gradient_x", "gradient_y", "gradient_a", "gradient_b")
    agree(cuda, got, want, dtype, given[0], ("value", "transport", *names[:2]))
    shift = rho is None  # balanced, gradients in the weights are defined up to a constant
    for name in names[2:]:
        u, v = cuda.host(getattr(got, name)), getattr(want, name)
        assert type(getattr(got, name)) is type(given[0])
        np.testing.assert_allclose(
            u - shift * u[1], v - shift * v[1], atol=1e-9 if dtype is np.float64 else 1e-3
        )
    whole, host = entropic_cost(*given, **options), entropic_cost(x, y, a, b, **options)
    agree(cuda, whole, host, dtype, given[0], ("value", *names[:2]))


def test_gradients_of_what_has_not_converged_agree_with_the_cpu(cuda):
    x, y, a, b = clouds()
    options = {"reg": 0.05, "max_iter": 2, "on_fail": "ignore"}
    got = otf.sinkhorn_divergence(*(cuda.put(v) for v in (x, y, a, b)), **options)
    want = otf.sinkhorn_divergence(x, y, a, b, **options)
    assert not got.converged
    like = cuda.put(x)
    names = ("value", "marginal_error", "n_iter", "gradient_x", "gradient_y")
    agree(cuda, got, want, np.float64, like, names)
    with pytest.warns(otf.ConvergenceWarning, match="monge_gap: error"):
        gap = otf.monge_gap(like, cuda.put(y[:24]), reg=0.01, max_iter=2)
    want = otf.monge_gap(x, y[:24], reg=0.01, max_iter=2, on_fail="ignore")
    agree(cuda, gap, want, np.float64, like, ("value", "gradient", "gradient_x"))


def test_points_of_any_layout_and_type(cuda):
    x, y, _, _ = clouds(20, 20)
    exact = {"reg": 0.3, "tol": 1e-12}
    want = otf.monge_gap(x, y, **exact)
    wide = np.zeros((40, 7))
    wide[::2, 1:5:2] = x
    columns = cuda.put(np.ascontiguousarray(x.T)).T
    for given in (cuda.put(wide)[::2, 1:5:2], columns):
        got = otf.monge_gap(given, cuda.put(y), **exact)
        agree(cuda, got, want, np.float64, given, ("value", "gradient", "gradient_x"))
    line = otf.sinkhorn_divergence(cuda.put(x[:, 0]), cuda.put(y[:, :1]), reg=0.3)
    assert line.value == pytest.approx(otf.sinkhorn_divergence(x[:, 0], y[:, :1], reg=0.3).value)
    assert tuple(line.gradient_x.shape) == (20, 1)
    for kind in (np.int64, np.int32, np.float16, bool):
        u, v = (4 * x).astype(kind), (4 * y).astype(kind)
        got, want = otf.monge_gap(cuda.put(u), cuda.put(v), reg=1.0), otf.monge_gap(u, v, reg=1.0)
        assert cuda.host(got.gradient).dtype == want.gradient.dtype
        assert got.value == pytest.approx(want.value, rel=1e-4)
    mixed = otf.monge_gap(cuda.put(x.astype(np.float32)), cuda.put(y), reg=0.3)
    assert cuda.host(mixed.gradient).dtype == np.float64


@pytest.mark.parametrize("scale", [1e-140, 1e-20, 1e20, 1e140])
def test_points_of_any_size(cuda, scale):
    x, y, _, _ = clouds(20, 20)
    got = otf.monge_gap(cuda.put(x * scale), cuda.put(y * scale), reg=0.3 * scale**2)
    want = otf.monge_gap(x * scale, y * scale, reg=0.3 * scale**2)
    assert got.value == pytest.approx(want.value, rel=1e-9)
    np.testing.assert_allclose(cuda.host(got.gradient), want.gradient, atol=1e-8 * scale)


def test_results_do_not_see_later_changes_of_points(cuda):
    if cuda.name.endswith("jax"):
        pytest.skip("JAX arrays do not change")
    x, y, _, _ = clouds(20, 20)
    u, v = cuda.put(x), cuda.put(y)
    gap = otf.monge_gap(u, v, reg=0.3, tol=1e-12)
    u *= 0.0
    v *= 0.0
    want = otf.monge_gap(x, y, reg=0.3, tol=1e-12)
    agree(cuda, gap, want, np.float64, u, ("gradient", "gradient_x"))


def test_attributes_do_not_see_what_the_caller_does_to_them(cuda):
    if cuda.name.endswith("jax"):
        pytest.skip("JAX arrays do not change")
    a, b, C = problem(np.float64)
    x, y, _, _ = clouds(20, 20)
    costs = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.1)
    cloud = otf.PointCloud(cuda.put(x), cuda.put(y))
    attributes = {
        costs: ("plan", "f", "g", "a", "b"),
        cloud: ("x", "y"),
        otf.quadratic(None, None, cuda.put(C), 0.1): ("plan", "f", "g"),
        otf.monge_gap(cloud, reg=0.3): ("gradient", "gradient_x"),
        otf.sinkhorn_divergence(cloud, reg=0.3): ("gradient_x", "gradient_y", "gradient_a"),
    }

    def answers():
        values = [getattr(r, name) for r, names in attributes.items() for name in names]
        return [*values, *costs.plan_vjp(cuda.put(C)), cloud.to_dense()]

    before = [cuda.host(v).copy() for v in answers()]
    for value in answers():
        value *= 0.0
    for got, want in zip(answers(), before, strict=True):
        np.testing.assert_array_equal(cuda.host(got), want)


def test_warm_starts_of_losses(cuda):
    x, y, a, b = clouds(40, 40)
    u, v = cuda.put(x), cuda.put(y)
    warm = otf.WarmStart()
    first = otf.monge_gap(u, v, reg=0.1, init=warm)
    passes = warm.passes
    assert otf.monge_gap(u, v, reg=0.1, init=warm).value == first.value
    assert warm.passes == passes  # nothing has changed
    moved = cuda.put(y + 1e-4)
    otf.monge_gap(u, moved, reg=0.1, init=warm)
    on_host = otf.monge_gap(x, y + 1e-4, reg=0.1, init=warm)  # of another place: from nothing
    assert on_host.value == pytest.approx(otf.monge_gap(x, y + 1e-4, reg=0.1).value, abs=1e-6)
    for init in (first, first.potentials, otf.monge_gap(x, y, reg=0.1)):
        again = otf.monge_gap(u, moved, reg=0.1, init=init)
        assert again.n_iter < first.n_iter
    d = otf.sinkhorn_divergence(u, v, reg=0.1)
    for init in (d, d.potentials):
        assert otf.sinkhorn_divergence(u, moved, reg=0.1, init=init).n_iter < d.n_iter
    with pytest.raises(TypeError, match=r"init f .* lives in host memory"):
        otf.monge_gap(u, v, reg=0.1, init=(a, b))
    with pytest.raises(TypeError, match=r"init f .* lives in cuda:0"):
        otf.monge_gap(x, y, reg=0.1, init=first.potentials)


def test_losses_take_arrays_of_one_place(cuda):
    x, y, a, b = clouds()
    u, v = cuda.put(x), cuda.put(y)
    for call in (
        lambda: otf.monge_gap(u, y),
        lambda: otf.monge_gap(x, v),
        lambda: otf.sinkhorn_divergence(u, y.tolist(), reg=0.1),
        lambda: otf.sinkhorn_divergence(u, v, a, reg=0.1),
        lambda: otf.sinkhorn_divergence(u, v, None, b, reg=0.1, unbalanced=1.0),
        lambda: otf.sinkhorn_divergence(x, y, cuda.put(a), reg=0.1),
    ):
        with pytest.raises(TypeError, match="lives in"):
            call()
    with pytest.raises(ValueError, match="threads is for host arrays; x lives in cuda:0"):
        otf.monge_gap(u, u, threads=2)


def test_subclasses_and_other_devices(cuda):
    if cuda.name != "emulated":
        pytest.skip("has two emulated devices")

    class Named(DeviceArray):
        pass

    x, y, _, _ = clouds()
    gap = otf.monge_gap(Named(x), cuda.put(x), reg=0.1)
    assert gap.value == pytest.approx(otf.monge_gap(x, x, reg=0.1).value)
    with pytest.raises(TypeError, match=r"y .* lives in cuda:1 .* and the problem in cuda:0"):
        otf.sinkhorn_divergence(cuda.put(x), DeviceArray(y, 1), reg=0.1)
    r = otf.sinkhorn(None, None, cuda.put(x), 0.1)
    with pytest.raises(TypeError, match=r"G .* lives in cuda:1"):
        r.plan_vjp(DeviceArray(x, 1))


X = np.arange(6.0).reshape(3, 2)


@pytest.mark.parametrize(
    "call", [otf.monge_gap, lambda x, y, **o: otf.sinkhorn_divergence(x, y, reg=1, **o)]
)
@pytest.mark.parametrize(
    ("x", "y", "options"),
    [
        (X, X[:, :1], {}),
        (X, np.where(X == 3, np.nan, X), {}),
        (np.where(X == 4, -np.inf, X), X, {}),
        (X, X.reshape(3, 1, 2), {}),
        (X, np.zeros((0, 2)), {}),
        (X.astype(complex), X, {}),
        (X - X[1], X, {"cost": "cosine"}),
        (X, X - X[2], {"cost": "cosine"}),
        (X, 1e160 * X, {}),
    ],
)
def test_bad_points_raise_what_they_raise_on_the_cpu(cuda, call, x, y, options):
    with pytest.raises((TypeError, ValueError)) as want:
        call(x, y, **options)
    with pytest.raises(want.type) as got:
        call(cuda.put(x), cuda.put(y), **options)
    assert str(got.value) == str(want.value)


def test_losses_take_point_clouds_and_options(cuda):
    x, y, a, b = clouds()
    cloud, want = otf.PointCloud(cuda.put(x), cuda.put(y)), otf.PointCloud(x, y)
    weights = cuda.put(a), cuda.put(b)
    seen = []
    options = {"reg": 0.3, "time_limit": 60.0}
    got = otf.sinkhorn_divergence(cloud, None, *weights, callback=seen.append, **options)
    assert got.value == pytest.approx(otf.sinkhorn_divergence(want, a=a, b=b, reg=0.3).value)
    assert {record["term"] for record in seen} == {"xy", "xx", "yy"}
    gap = otf.monge_gap(otf.PointCloud(cuda.put(x), cuda.put(x)), **options)
    assert gap.value == pytest.approx(otf.monge_gap(x, x, reg=0.3).value)


def test_copies_of_losses_stay_and_pickles_are_on_the_host(cuda):
    x, y, _, _ = clouds()
    for loss in (otf.sinkhorn_divergence, lambda x, y, **o: otf.monge_gap(x, x, **o)):
        got = loss(cuda.put(x), cuda.put(y), reg=0.3)
        want = cuda.host(got.gradient_x)
        if not cuda.name.startswith("emulated-"):  # whose tensors are the host's
            twin = copy.deepcopy(got)
            np.testing.assert_array_equal(cuda.host(twin.gradient_x), want)
            again = pickle.loads(pickle.dumps(got))
            assert again.value == got.value
            assert type(again.gradient_x) is np.ndarray
            np.testing.assert_allclose(again.gradient_x, want, atol=1e-9)


def test_losses_leave_nothing_large_on_the_host(cuda):
    if cuda.name != "emulated":
        pytest.skip("counts what moves between the emulated device and the host")
    x, y, a, b = clouds(260, 270, 9)
    given = [cuda.put(v) for v in (x, y, a, b)]
    cuda.counts.largest = 0
    d = otf.sinkhorn_divergence(*given, reg=0.3)
    gap = otf.monge_gap(given[0], given[0], debias=True)
    for value in (*d.gradient, d.gradient_a, gap.gradient, gap.gradient_x, *d.potentials):
        assert type(value) is DeviceArray
    assert cuda.counts.largest == 128 * 9  # a sample of the points, which have 2340 entries
    assert cuda.counts.live == 0


def test_what_another_stream_writes_is_waited_for(cuda, monkeypatch):
    if cuda.name != "emulated":
        pytest.skip("watches the emulated device")
    from ot_fast import _cuda_emulated

    waited = []
    monkeypatch.setattr(Emulated, "written_in", lambda self, array: 7)
    monkeypatch.setattr(_cuda_emulated, "wait", waited.append)
    otf.monge_gap(cuda.put(X), cuda.put(X), reg=0.1)
    assert (0, 7, None) in waited


def test_jax_in_single_precision(monkeypatch):
    if reason := available():
        pytest.skip(reason)
    jax = pytest.importorskip("jax", reason="the jax extra is not installed")
    install_jax(monkeypatch)
    x, y, _, _ = clouds(20, 20, dtype=np.float32)
    with jax.enable_x64(False):
        u, v = jax.numpy.asarray(x), jax.numpy.asarray(y)
        gap = otf.monge_gap(u, v, reg=0.3)
        assert gap.gradient.dtype == np.float32
        C = jax.numpy.asarray(np.abs(x[:, :1] - y[:, 0]))
        dC = otf.sinkhorn(None, None, C, 0.1).plan_vjp(C)[2]
        whole = otf.monge_gap(jax.numpy.arange(4), jax.numpy.arange(4)[::-1], reg=0.3)
    want = otf.monge_gap(x, y, reg=0.3)
    assert gap.value == pytest.approx(want.value, rel=1e-5)
    np.testing.assert_allclose(gap.gradient, want.gradient, atol=1e-5)
    want = otf.sinkhorn(None, None, np.asarray(C), 0.1).plan_vjp(np.asarray(C))[2]
    np.testing.assert_allclose(dC, want, atol=1e-5 * abs(want).max())
    want = otf.monge_gap(np.arange(4), np.arange(4)[::-1], reg=0.3)
    assert whole.value == pytest.approx(want.value, rel=1e-9)


def test_numba_arrays_cannot_compute(monkeypatch):
    class Array:
        __module__ = "numba"
        shape, dtype = (3, 2), np.dtype(float)
        __cuda_array_interface__ = {"stream": 5}  # noqa: RUF012

    driver = SimpleNamespace(get_current_device=lambda: SimpleNamespace(id=0))
    monkeypatch.setitem(sys.modules, "numba", SimpleNamespace(cuda=driver))
    monkeypatch.delitem(sys.modules, "ot_fast._arrays.numba", raising=False)
    assert place_of(Array(), "x").written_in(Array()) == 5
    with pytest.raises(TypeError, match=r"wrap them without a copy: cupy.asarray\(x\)"):
        otf.monge_gap(Array(), Array())


@pytest.mark.parametrize("order", ["C", "F"])
def test_results_pickle_and_copy(cuda, order):
    rng = np.random.default_rng(1)
    C = cuda.put(rng.random((30, 20)))
    C = C if order == "C" else cuda.put(rng.random((20, 30))).T
    cloud = otf.PointCloud(cuda.put(rng.random((30, 2))), cuda.put(rng.random((20, 2))))
    for r in (
        otf.sinkhorn(None, None, C, 0.1),
        otf.sinkhorn(None, None, cloud, 0.1),
        otf.quadratic(None, None, C, 1.0),
    ):
        _ = r.plan, r.f
        names = ("plan", "f", "g", "a", "b")
        want = [cuda.host(getattr(r, name)) for name in names]
        for again in (copy.deepcopy(r), copy.copy(r)):
            assert place_of(again.plan, "plan") == r.geometry.place
            for name, value in zip(names, want, strict=True):
                np.testing.assert_array_equal(cuda.host(getattr(again, name)), value)
            assert (again.value, again.gap) == (r.value, r.gap)
        host = pickle.loads(pickle.dumps(r))  # on the host, where kernels round otherwise
        for name, value in zip(names, want, strict=True):
            assert isinstance(getattr(host, name), np.ndarray)
            np.testing.assert_allclose(getattr(host, name), value, rtol=1e-11, atol=1e-15)
        assert host.value == pytest.approx(r.value, rel=1e-12)


# ---- gradients of the plan --------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("reg", [0.3, 0.003])
def test_gradients_of_the_plan_agree_with_the_cpu(cuda, dtype, order, reg):
    a, b, C = problem(dtype)
    a[::7], b[2] = 0, 0
    a, b = a / a.sum(), 3 * b / b.sum() / 3
    G = np.random.default_rng(1).normal(size=C.shape)
    tol = 1e-12 if dtype is np.float64 else 1e-6
    given = cuda.put(C) if order == "C" else cuda.put(np.ascontiguousarray(C.T)).T
    r = otf.sinkhorn(cuda.put(a), cuda.put(b), given, reg, tol=tol, on_fail="ignore")
    P = np.asarray(cuda.host(r.plan), np.float64)
    got = r.plan_vjp(cuda.put(G))
    for u in got:
        assert type(u) is type(given)
        assert cuda.host(u).dtype == np.float64
    # The same plan on the CPU, so that the linear solve alone is compared.
    if r.geometry.transposed:
        in_b, in_a, in_C = plan_vjp(P.T, reg, G.T, 1e-10)
        same = in_a, in_b, in_C.T
    else:
        same = plan_vjp(P, reg, G, 1e-10)
    for u, v in zip(got, same, strict=True):
        np.testing.assert_allclose(cuda.host(u), v, atol=1e-8 * abs(v).max())
    if dtype is np.float64:
        want = otf.sinkhorn(a, b, C, reg, tol=tol, on_fail="ignore").plan_vjp(G)
        np.testing.assert_allclose(cuda.host(got[2]), want[2], atol=1e-8 * abs(want[2]).max())


def test_gradients_of_the_plan_take_what_the_cpu_takes(cuda):
    a, b, C = problem(np.float64)
    host, r = (otf.sinkhorn(p(a), p(b), p(C), 0.1) for p in (np.asarray, cuda.put))
    G = np.random.default_rng(1).normal(size=C.shape)
    wide = np.zeros((40, 90))
    wide[:, ::3] = G
    for given in (cuda.put(wide)[:, ::3], cuda.put(np.ascontiguousarray(G.T)).T):
        got = cuda.host(r.plan_vjp(given)[2])
        np.testing.assert_allclose(got, host.plan_vjp(G)[2], atol=1e-9)
    small = cuda.host(r.plan_vjp(cuda.put(G.astype(np.float32)))[2])
    np.testing.assert_allclose(small, host.plan_vjp(G.astype(np.float32))[2], atol=1e-9)
    assert abs(cuda.host(r.plan_vjp(cuda.put(0 * G))[2])).max() == 0
    for bad in (G[:3], G[:, 0], np.where(G[2, 3] == G, np.nan, G), G.astype(complex)):
        with pytest.raises((TypeError, ValueError)) as want:
            host.plan_vjp(bad)
        with pytest.raises(want.type) as got:
            r.plan_vjp(cuda.put(bad))
        assert str(got.value) == str(want.value)
    with pytest.raises(TypeError, match="lives in"):
        r.plan_vjp(G)


def test_gradients_of_the_plan_stay_on_the_device(cuda):
    if cuda.name != "emulated":
        pytest.skip("counts what moves between the emulated device and the host")
    a, b, C = (cuda.put(v) for v in problem(np.float64))
    r = otf.sinkhorn(a, b, C, 0.1)
    cuda.counts.largest = 0
    r.plan_vjp(C)
    assert cuda.counts.largest == 0


# ---- hostile input ----------------------------------------------------------------------------


def test_hostile_costs(cuda):
    _, _, C = problem(np.float64)
    bad = C.copy()
    bad[3, 4] = np.nan
    with pytest.raises(ValueError, match=r"C\[3, 4\] = nan"):
        otf.sinkhorn(None, None, cuda.put(bad), 0.1)
    bad[3, :] = np.inf
    with pytest.raises(otf.InfeasibleError, match="row 3"):
        otf.sinkhorn(None, None, cuda.put(bad), 0.1)
    C[::3, ::4] = np.inf
    r, want = (otf.sinkhorn(None, None, c, 0.01) for c in (cuda.put(C), C))
    assert r.converged
    assert r.value == pytest.approx(want.value, rel=1e-8)
    huge = otf.sinkhorn(None, None, cuda.put(C * 2.0**1000), 0.01 * 2.0**1000)
    assert huge.value == pytest.approx(want.value * 2.0**1000, rel=1e-8)


def test_zero_weights_and_single_rows(cuda):
    a, b, C = problem(np.float64)
    a[::3] = 0
    b[1] = 0
    a /= a.sum()
    b /= b.sum()
    r, want = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.03), otf.sinkhorn(a, b, C, 0.03)
    assert r.value == pytest.approx(want.value, rel=1e-8)
    for shape in ((1, 5), (5, 1), (1, 1)):
        r = otf.sinkhorn(None, None, cuda.put(np.ones(shape)), 0.1)
        np.testing.assert_allclose(cuda.host(r.plan), np.full(shape, 1 / np.prod(shape)))


def test_warm_starts(cuda):
    a, b, C = problem(np.float64)
    r = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05)
    again = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05, init=r)
    assert again.n_iter <= 2
    again = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05, init=r.potentials)
    assert again.n_iter <= 2


def test_tiny_reg_takes_a_factor_of_the_plans_graph(cuda):
    """By diagonal scaling alone the error stays at 2e-4: links of the plan span ten decades."""
    rng = np.random.default_rng(5)
    x, y = 2 * rng.random((600, 2)) - 1, 2 * rng.random((607, 2)) - 0.8
    a, b = rng.random(600) + 0.1, rng.random(607) + 0.1
    a, b = a / a.sum(), b / b.sum()
    C = ((x[:, None] - y) ** 2).sum(-1)
    options = {"reg": 1e-6 * C.max(), "method": "newton", "tol": 3e-11}
    want = otf.sinkhorn(a, b, C, **options)
    runs = [otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), **options) for _ in range(2)]
    P = cuda.host(runs[0].plan)
    assert max(abs(P.sum(1) - a).sum(), abs(P.sum(0) - b).sum()) <= 1e-9
    f, g = (cuda.host(v) for v in runs[0].potentials)
    shift = (f - want.f).mean()
    for mine, theirs in ((f - shift, want.f), (g + shift, want.g)):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9 * abs(theirs).max())
    for mine, again in zip(*(r.potentials for r in runs), strict=True):
        assert np.array_equal(cuda.host(mine), cuda.host(again))


def test_results_are_the_same_to_the_last_bit(cuda, dtype):
    a, b, C = problem(dtype, 130, 1100)
    runs = [otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.02) for _ in range(3)]
    plans = [cuda.host(r.plan).tobytes() for r in runs]
    assert plans[0] == plans[1] == plans[2]


def test_an_interrupted_solve_leaves_a_usable_device(cuda):
    _, _, C = problem(np.float64, 100, 100)

    def stop(line):
        if line["n_iter"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        otf.sinkhorn(None, None, cuda.put(C), 1e-3, callback=stop)
    assert otf.sinkhorn(None, None, cuda.put(C), 0.1).converged


def test_all_memory_is_given_back(cuda):
    if cuda.name != "emulated":
        pytest.skip("counts the allocations of the emulated library")
    a, b, C = problem(np.float64)
    r = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05)
    assert r.upper_bound >= r.lower_bound
    assert cuda.counts.made > 10
    assert cuda.counts.live == 0
    cuda.counts.limit = 1000
    with pytest.raises(MemoryError):
        otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05)
    cuda.counts.limit = None
    assert cuda.counts.live == 0
    assert otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05).converged


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_out_of_device_memory_is_a_memory_error(name):
    cuda = gpu_adapter(name)
    from ot_fast._backends import cuda as module

    free = module().memory(place_of(cuda.put(np.ones(1)), "x").where())[0]
    n = int((free / 4) ** 0.5)
    rng = np.random.default_rng(0)
    x, y = cuda.put(rng.random((n, 2))), cuda.put(rng.random((n, 2)))
    with pytest.raises(MemoryError):
        otf.sinkhorn(None, None, otf.PointCloud(x, y), 0.1, max_iter=2, on_fail="ignore").plan  # noqa: B018
    assert otf.sinkhorn(None, None, cuda.put(rng.random((50, 50))), 0.1).converged


@pytest.mark.gpu
def test_the_callers_stream_is_used():
    if reason := missing("cupy"):
        pytest.skip(reason)
    import cupy

    C = np.random.default_rng(0).random((2000, 2000))
    want = otf.sinkhorn(None, None, C, 0.05).value
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        slow = cupy.asarray(C)
        for _ in range(200):  # C is only right once these are through
            slow = slow * 2
            slow = slow / 2
        assert otf.sinkhorn(None, None, slow, 0.05).value == pytest.approx(want, rel=1e-9)


def test_wide_rows_are_summed_first_and_kept_by_panels(cuda, dtype):
    """More columns than a team of blocks holds; the emulated one holds 4096."""
    a, b, C = problem(dtype, 12, 5000)
    r, want = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.02), otf.sinkhorn(a, b, C, 0.02)
    assert r.converged
    assert r.value == pytest.approx(want.value, rel=1e-8 if dtype is np.float64 else 1e-4)


def test_info_says_why_the_gpu_is_not_used():
    cuda = otf.info()["cuda"]
    assert cuda["reason"] or cuda["devices"]
    if not cuda["present"]:
        assert "CUDA module" in cuda["reason"]


@pytest.mark.gpu
def test_import_creates_no_context(run_python):
    if reason := missing("ot_fast"):
        pytest.skip(reason)
    run_python(
        """
        import ctypes
        import sys
        import ot_fast as otf
        otf.info()
        assert "cupy" not in sys.modules and "torch" not in sys.modules
        driver = ctypes.CDLL("libcuda.so.1")
        flags, active = ctypes.c_uint(), ctypes.c_int(-1)
        assert driver.cuDevicePrimaryCtxGetState(0, ctypes.byref(flags), ctypes.byref(active)) == 0
        assert active.value == 0
        """
    )


@pytest.mark.skipif(not otf.info()["cuda"]["present"], reason="this build has no CUDA module")
def test_the_module_loads_without_a_driver(run_python):
    done = run_python(
        "import ot_fast as otf; print(otf.info()['cuda'])", env={"CUDA_VISIBLE_DEVICES": ""}
    )
    assert "'devices': []" in done.stdout


# ---- sparse plans ------------------------------------------------------------------------------

SPARSE = {
    "quadratic": otf.quadratic,
    "columns": lambda *p, **q: otf.sparsity_constrained(*p, 4, **q),
    "rows": lambda *p, **q: otf.sparsity_constrained(*p, 5, axis=1, **q),
}
sparse_solvers = pytest.mark.parametrize("solve", SPARSE.values(), ids=SPARSE)


def check_sparse(cuda, r, want, tol, same_plan=True):
    """The same result, where the costs are; of two supports within rounding either may be found."""
    P = cuda.host(r.plan)
    assert P.dtype == want.plan.dtype
    if same_plan:
        np.testing.assert_allclose(P, want.plan, atol=tol)
    assert np.array_equal(dense(r.sparse_plan), P)
    counts = (P > 0).sum(1 if r.axis == 1 else 0)
    assert r.cardinality == counts.max()
    assert r.max_nz is None or counts.max() <= r.max_nz
    a, b = (cuda.host(v) for v in (r.a, r.b))
    error = max(abs(P.sum(1, dtype=float) - a).sum(), abs(P.sum(0, dtype=float) - b).sum())
    assert error <= max(tol, 1e-9) * a.sum()
    assert r.marginal_error == pytest.approx(error / a.sum(), rel=1e-6, abs=1e-13)
    size = abs(want.value)
    for name in ("value", "value_linear", "dual_value") if same_plan else ("dual_value",):
        assert getattr(r, name) == pytest.approx(getattr(want, name), abs=10 * tol * size), name
    assert r.value == pytest.approx(want.value, rel=1e-3)
    assert r.dual_value <= r.value + 10 * tol * size


@sparse_solvers
def test_sparse_plans_agree_with_the_cpu(cuda, dtype, solve):
    a, b, C = problem(dtype)
    r, want = (solve(*(put(v) for v in (a, b, C)), 0.05) for put in (cuda.put, np.asarray))
    assert r.converged
    check_sparse(cuda, r, want, 1e-9 if dtype is np.float64 else 1e-6)
    for name in ("a", "b", "f", "g", "plan"):
        assert type(getattr(r, name)) is type(cuda.put(C)), name
    i, j = np.nonzero(want.plan)
    f, g = (cuda.host(v).astype(float) for v in r.potentials)
    tol = 1e-8 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(f[i] + g[j], want.f[i] + want.g[j].astype(float), atol=tol)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [2, 9])
def test_sparse_plans_of_point_clouds(cuda, dtype, cost, d):
    rng = np.random.default_rng(d)
    x, y = (rng.random((k, d)).astype(dtype) + 0.1 for k in (35, 45))
    geometry = otf.PointCloud(cuda.put(x), cuda.put(y), **spec(cost))
    host = otf.PointCloud(x, y, **spec(cost))
    reg = float(host.to_dense().mean())
    single = dtype is np.float32
    for solve in (SPARSE["quadratic"], SPARSE["columns"]):
        r, want = solve(None, None, geometry, reg), solve(None, None, host, reg)
        assert r.converged
        # Costs are rounded otherwise here than on the CPU.
        check_sparse(cuda, r, want, 1e-6 if single else 1e-9, same_plan=r.max_nz is None)


@sparse_solvers
@pytest.mark.parametrize("order", ["C", "F"])
def test_sparse_plans_of_hostile_costs(cuda, solve, order):
    a, b, C = problem(np.float64, 50, 35)
    rng = np.random.default_rng(3)
    a[::7] = b[::6] = 0
    C[rng.random(C.shape) < 0.1] = np.inf
    C *= 2.0**1010
    a, b = 30 * a / a.sum(), 30 * b / b.sum()
    reg = 0.05 * 2.0**1010
    put = cuda.put if order == "C" else lambda v: cuda.put(np.ascontiguousarray(v.T)).T
    C = np.asarray(C, order=order)
    r, want = solve(cuda.put(a), cuda.put(b), put(C), reg), solve(a, b, C, reg)
    assert r.converged
    check_sparse(cuda, r, want, 1e-9 * 30)
    f, g = (cuda.host(v) * 2.0**-1010 for v in r.potentials)
    high = (C * 2.0**-1010 - g).min(1)  # the largest that lets no entry in
    np.testing.assert_allclose(f[::7], high[::7], atol=1e-12 * abs(high).max())
    P = cuda.host(r.plan)
    assert (P[::7] == 0).all()
    assert (P[~np.isfinite(C)] == 0).all()


@sparse_solvers
def test_sparse_plans_start_warm_from_either_side(cuda, solve):
    a, b, C = problem(np.float64, 90, 70)
    there = [cuda.put(v) for v in (a, b, C)]
    host, r = solve(a, b, C, 0.1), solve(*there, 0.1)
    for init in (r, r.potentials, host, otf.sinkhorn(*there, 0.01), otf.sinkhorn(a, b, C, 0.01)):
        again = solve(*there, 0.1, init=init)
        assert again.converged
        assert again.marginal_error <= 1e-9
        if init is r or init is host:
            assert again.n_iter < r.n_iter
    assert solve(a, b, C, 0.1, init=r).converged
    with pytest.raises(TypeError, match="lives in"):
        solve(*there, 0.1, init=host.potentials)
    with pytest.raises(TypeError, match="lives in"):
        solve(a, b, C, 0.1, init=r.potentials)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (3, 5000), (5000, 3)])
def test_sparse_plans_of_unusual_shapes(cuda, shape):
    C = np.random.default_rng(0).random(shape)
    r, want = (otf.quadratic(None, None, c, 0.3) for c in (cuda.put(C), C))
    assert r.converged
    check_sparse(cuda, r, want, 1e-9)


@sparse_solvers
def test_sparse_plans_stay_on_their_device(cuda, solve):
    a, b, C = problem(np.float64)
    for args in ((a, cuda.put(b), cuda.put(C)), (cuda.put(a), None, C), (None, b, cuda.put(C))):
        with pytest.raises(TypeError, match="lives in"):
            solve(*args, 0.1)
    with pytest.raises(ValueError, match="threads"):
        solve(None, None, cuda.put(C), 0.1, threads=2)
    with pytest.raises(TypeError, match="plot draws from host memory"):
        solve(None, None, cuda.put(C), 0.1).plot()


@sparse_solvers
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interrupted_sparse_solve_leaves_a_usable_device(cuda, solve, error):
    a, b, C = (cuda.put(v) for v in problem(np.float64, 80, 60))

    def stop(line):
        if line["n_iter"] >= 5:
            raise error

    with pytest.raises(error):
        solve(a, b, C, 0.01, callback=stop)
    if cuda.name == "emulated":
        assert cuda.counts.live == 0
    assert solve(a, b, C, 0.01).converged


@pytest.mark.parametrize("n", [40, 350])  # entries are read at once, or by passes
@pytest.mark.parametrize("max_iter", [3, 1000])
def test_bounds_with_forbidden_pairs_are_those_of_the_host(cuda, dtype, n, max_iter):
    a, b, C = problem(dtype, n, n - 5)
    C[np.random.default_rng(n).random(C.shape) < 0.5] = np.inf
    there, here = (
        otf.sinkhorn(*put, 0.05, max_iter=max_iter, tol=1e-5, on_fail="ignore")
        for put in ([cuda.put(v) for v in (a, b, C)], (a, b, C))
    )
    for r in (there, here):
        assert r.lower_bound <= r.upper_bound < np.inf
    close = 1e-2 if max_iter == 3 else 1e-3
    assert there.lower_bound == pytest.approx(here.lower_bound, rel=close)
    assert there.upper_bound == pytest.approx(here.upper_bound, rel=close)


def test_sparse_plans_of_costs_without_one(cuda):
    C = np.full((4, 4), np.inf)
    C[:3, :2] = C[3:, 2:] = 1
    with pytest.raises(otf.InfeasibleError, match="can carry only"):
        otf.quadratic(None, None, cuda.put(C), 0.1)
    with pytest.raises(otf.InfeasibleError, match="max_nz"):
        otf.sparsity_constrained(None, None, cuda.put(np.ones((7, 3))), 0.1, 2)


def test_sparse_solves_move_vectors_and_give_all_memory_back(cuda):
    if cuda.name != "emulated":
        pytest.skip("counts the allocations of the emulated library")
    a, b, C = (cuda.put(v) for v in problem(np.float64))
    for solve in SPARSE.values():
        r = solve(a, b, C, 0.05)
        assert r.value >= r.dual_value - 1e-9
        assert cuda.counts.largest <= 40  # vectors: the costs stay where they are
        cuda.counts.limit = 1000
        with pytest.raises(MemoryError):
            solve(a, b, C, 0.05)
        cuda.counts.limit = None
        assert cuda.counts.live == 0
        assert solve(a, b, C, 0.05).converged
