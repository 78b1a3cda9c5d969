"""CUDA arrays: on the GPU where there is one, and on an emulated device everywhere.

Results are checked against the CPU backend on the same data, and by the plan's own marginals.
"""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import scipy.sparse as sp
from emulated import DeviceArray, install
from problems import COSTS, spec

import ot_fast as otf
from ot_fast import _arrays

METHODS = ["newton", "scaling", "log", "sns", "auto"]


class Adapter:
    """How the tests make and read arrays of a library."""

    def __init__(self, name, put, host, library=None):
        self.name, self.put, self.host, self.library = name, put, host, library


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
        pytest.param("cupy", marks=pytest.mark.gpu),
        pytest.param("torch", marks=pytest.mark.gpu),
    ]
)
def cuda(request, monkeypatch):
    if request.param != "emulated":
        return gpu_adapter(request.param)
    if importlib.util.find_spec("ot_fast._cuda_emulated") is None:
        pytest.skip("built without the emulated device (OT_FAST_EMULATOR=ON)")
    library = install(monkeypatch)
    return Adapter("emulated", lambda v: DeviceArray(np.array(v)), lambda v: v.get(), library)


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request):
    return request.param


def problem(dtype, n=40, m=30, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) + 0.1, rng.random(m) + 0.1
    return a / a.sum(), b / b.sum(), rng.random((n, m)).astype(dtype)


@pytest.mark.parametrize("method", METHODS)
def test_a_solve_agrees_with_the_cpu(cuda, dtype, method):
    a, b, C = problem(dtype)
    r = otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05, method=method)
    want = otf.sinkhorn(a, b, C, 0.05, method=method)
    assert r.converged
    P = cuda.host(r.plan)
    assert P.dtype == dtype
    tol = 1e-9 if dtype is np.float64 else 1e-5
    assert abs(P.sum(1, dtype=float) - a).sum() < tol
    assert abs(P.sum(0, dtype=float) - b).sum() < tol
    f, g = (cuda.host(v).astype(float) for v in r.potentials)
    shift = f[0] - want.f[0]
    size = abs(want.f).max()
    np.testing.assert_allclose(f - shift, want.f, atol=tol * size)
    np.testing.assert_allclose(g + shift, want.g, atol=tol * size)
    for name in ("value", "value_linear", "dual_value", "lower_bound", "upper_bound"):
        assert getattr(r, name) == pytest.approx(getattr(want, name), rel=10 * tol), name


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
    reg = 0.1 * float(scale)
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
        dense(r.sparse_plan(threshold=cut)), np.where(cut <= P, P, 0), rtol=1e-9
    )
    for fraction in (0.5, 0.99, 1.0):
        S = dense(r.sparse_plan(mass=fraction))
        assert S.sum() >= fraction * P.sum() * (1 - 1e-9)
        kept = np.sort(P[S > 0])
        assert P[S == 0].max(initial=0) <= kept[0] * (1 + 1e-9)  # the largest are kept
        assert S.sum() - kept[0] < fraction * P.sum()  # and none too many
    assert (np.diff(sp.csr_array(dense(r.sparse_plan(top_k=2))).indptr) == 2).all()


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


def test_what_runs_on_the_cpu_only_says_so(cuda):
    a, b, C = (cuda.put(v) for v in problem(np.float64))
    for call in (
        lambda: otf.quadratic(a, b, C, 0.1),
        lambda: otf.sparsity_constrained(a, b, C, 0.1, 3),
        lambda: otf.quadratic(None, None, otf.PointCloud(C, C), 0.1),
        lambda: otf.monge_gap(C, C),
        lambda: otf.sinkhorn_divergence(C, C, reg=0.1),
        lambda: otf.sinkhorn(a, b, C, 0.1).plan_vjp(C),
    ):
        with pytest.raises(TypeError, match="computed on the CPU only so far"):
            call()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("d", [1, 3, 9])
@pytest.mark.parametrize("rho", [np.inf, 0.5])
def test_gradients_in_the_points(cuda, dtype, cost, d, rho):
    rng = np.random.default_rng(d)
    x, y = (rng.normal(size=(k, d)).astype(dtype) for k in (35, 45))
    a, h, phi = rng.random(35), rng.normal(size=45), np.full(35, np.nan)
    out = []
    for cloud in (
        otf.PointCloud(x, y, **spec(cost)),
        otf.PointCloud(cuda.put(x), cuda.put(y), **spec(cost)),
    ):
        f = phi.copy()
        out.append((f, *cloud.core.gradient(cloud.handle, a, 0.3, f, h, rho, cloud.place.where())))
    tol = 1e-11 if dtype is np.float64 else 1e-4
    for got, want in zip(*out[::-1], strict=True):
        # The cosine in one dimension is constant: its gradient is all rounding.
        np.testing.assert_allclose(got, want, atol=tol * max(1, abs(want).max()))


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
    assert cuda.library.made > 10
    assert cuda.library.live == 0
    cuda.library.limit = 1000
    with pytest.raises(MemoryError):
        otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05)
    cuda.library.limit = None
    assert cuda.library.live == 0
    assert otf.sinkhorn(cuda.put(a), cuda.put(b), cuda.put(C), 0.05).converged


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_out_of_device_memory_is_a_memory_error(name):
    cuda = gpu_adapter(name)
    from ot_fast._backends import cuda as module

    free = module().memory(_arrays.place_of(cuda.put(np.ones(1)), "x").where())[0]
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
