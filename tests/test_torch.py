"""The PyTorch layers: gradcheck in float64, float32, errors, and a map that learns.

On host tensors, on tensors of the emulated device, and on a GPU where there is one.
"""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
from emulated import available, install_torch
from problems import COSTS, spec

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

import ot_fast as otf  # noqa: E402
import ot_fast.torch as layers  # noqa: E402

TOL = {"tol": 1e-12}


@pytest.fixture(params=["cpu", "emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def at(request, monkeypatch):
    """The device of the tensors."""
    if request.param == "emulated":
        if reason := available():
            pytest.skip(reason)
        install_torch(monkeypatch)
        return "cpu"
    if request.param == "cuda":
        if reason := otf.info()["cuda"]["reason"]:
            pytest.skip(reason)
        if not torch.cuda.is_available():
            pytest.skip("this PyTorch has no CUDA device")
    return request.param


def tensors(n=9, m=7, d=3, seed=0, at="cpu"):
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(n, d)), 0.3 + rng.normal(size=(m, d)), *rng.normal(size=(2, 9))
    return [
        torch.tensor(v[:k], device=at, requires_grad=True)
        for v, k in zip(arrays, (n, m, n, m), strict=True)
    ]


def costs(at):
    return torch.tensor(np.random.default_rng(1).random((9, 7)), device=at, requires_grad=True)


def softmax(logits):
    return torch.softmax(logits, 0)  # weights that always sum to 1


def test_gradcheck_of_exact_transport(at):
    _, _, a, b = tensors(at=at)
    C = costs(at)

    def value(a, b, C):
        return layers.emd_value(3 * softmax(a), 3 * softmax(b), C)

    assert torch.autograd.gradcheck(value, (a, b, C))
    (plan,) = torch.autograd.grad(layers.emd_value(None, None, C), C)
    np.testing.assert_allclose(plan.cpu(), otf.emd(None, None, C.detach().cpu().numpy()).plan)


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("layer", [layers.sinkhorn_divergence, layers.sinkhorn_clouds])
@pytest.mark.parametrize("rho", [None, 0.5])
def test_gradcheck_of_cloud_losses(at, cost, layer, rho):
    weights = softmax if rho is None else torch.exp  # unbalanced masses may differ

    def loss(x, y, a, b):
        options = {"reg": 0.3, "unbalanced": rho, **spec(cost), **TOL}
        return layer(x, y, 2 * weights(a), 2 * weights(b), **options)

    assert torch.autograd.gradcheck(loss, tensors(at=at))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("debias", [False, True])
def test_gradcheck_of_the_gap(at, cost, debias):
    x, y, _, _ = tensors(8, 8, at=at)
    options = {"reg": 0.3, "debias": debias, **spec(cost), **TOL}
    assert torch.autograd.gradcheck(lambda u, v: layers.monge_gap(u, v, **options), (x, y))


@pytest.mark.parametrize("layer", [layers.sinkhorn, layers.sinkhorn_plan])
@pytest.mark.parametrize("mass", [1.0, 3.0])
def test_gradcheck_of_dense_layers(at, layer, mass):
    _, _, a, b = tensors(at=at)
    C = costs(at)

    def value(a, b, C):
        return layer(mass * softmax(a), mass * softmax(b), C, 0.1, **TOL)

    assert torch.autograd.gradcheck(value, (a, b, C))
    assert torch.autograd.gradcheck(lambda C: layer(None, None, C, 0.1, **TOL), (C,))


def test_values_are_those_of_numpy(at):
    x, y, a, b = (t.detach() for t in tensors(at=at))
    a, b = softmax(a), softmax(b)
    C = costs(at).detach()
    hx, hy, ha, hb, hC = (v.cpu().numpy() for v in (x, y, a, b, C))
    exact = {"reg": 0.2, **TOL}
    near = {"rel": 1e-10, "abs": 1e-12}
    got = layers.sinkhorn(a, b, C, **exact).item()
    assert got == pytest.approx(otf.sinkhorn(ha, hb, hC, **exact).value, **near)
    plan = layers.sinkhorn_plan(a, b, C, **exact)
    np.testing.assert_allclose(plan.cpu(), otf.sinkhorn(ha, hb, hC, **exact).plan, rtol=1e-9)
    for mass in (1.0, 2.5):
        clouds = layers.sinkhorn_clouds(x, y, mass * a, mass * b, cost="euclidean", **exact)
        H = np.linalg.norm(hx[:, None] - hy, axis=2)
        dense = otf.sinkhorn(mass * ha, mass * hb, H, **exact).value
        assert clouds.item() == pytest.approx(dense, abs=1e-9)
    got = layers.sinkhorn_divergence(x, y, **exact).item()
    assert got == pytest.approx(otf.sinkhorn_divergence(hx, hy, **exact).value, **near)


def test_single_precision_and_only_the_gradients_asked_for(at):
    x, y, _, _ = tensors(20, 20, at=at)
    x = x.detach().float()
    y = y.detach()[:7].repeat(3, 1)[:20].float().requires_grad_()
    gap = layers.monge_gap(x, y, reg=0.3, tol=1e-5)
    assert gap.dtype == torch.float32
    assert gap.device == x.device
    (3 * gap).backward()
    assert y.grad.dtype == torch.float32
    assert y.grad.device == x.device
    assert x.grad is None
    hx, hy = x.cpu().numpy(), y.detach().cpu().numpy()
    expected = otf.monge_gap(hx, hy, reg=0.3, tol=1e-5).gradient
    np.testing.assert_allclose(y.grad.cpu(), 3 * expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [layers.sinkhorn, layers.sinkhorn_plan])
def test_dense_layers_in_single_precision(at, layer):
    C = costs(at)
    c = C.detach().float().requires_grad_()
    W = torch.linspace(0, 1, 63, dtype=torch.float64, device=at).reshape(9, 7)
    for v, options in ((C, TOL), (c, {"tol": 1e-6})):
        out = layer(None, None, v, 0.1, **options)
        assert out.dtype == v.dtype
        (out if out.ndim == 0 else (out * W.to(v.dtype)).sum()).backward()
    assert c.grad.dtype == torch.float32
    np.testing.assert_allclose(c.grad.cpu(), C.grad.cpu(), atol=1e-4)


def test_tensors_of_any_layout(at):
    x, y, _, _ = tensors(8, 8, at=at)
    (want,) = torch.autograd.grad(layers.monge_gap(x, y, reg=0.3, **TOL), y)
    wide = torch.zeros(16, 9, dtype=torch.float64, device=at)
    wide[::2, ::3] = y.detach()
    part = wide.requires_grad_()[::2, ::3]
    (got,) = torch.autograd.grad(layers.monge_gap(x, part, reg=0.3, **TOL), wide)
    np.testing.assert_allclose(got[::2, ::3].cpu(), want.cpu(), atol=1e-9)
    C = costs(at)
    rows, columns = (softmax(v).detach() for v in tensors(at=at)[2:])
    (want,) = torch.autograd.grad(layers.sinkhorn_plan(rows, columns, C, 0.1, **TOL)[2, 3], C)
    T = C.detach().T.contiguous().requires_grad_()
    plan = layers.sinkhorn_plan(rows, columns, T.T, 0.1, **TOL)
    (got,) = torch.autograd.grad(plan.sum(0)[3] - plan[:2, 3].sum() - plan[3:, 3].sum(), T)
    np.testing.assert_allclose(got.T.cpu(), want.cpu(), atol=1e-8)


def test_gradients_are_the_callers(at):
    x, y, _, _ = tensors(8, 8, at=at)
    gap = layers.monge_gap(x, y, reg=0.3)
    (one,) = torch.autograd.grad(gap, y, retain_graph=True)
    kept = one.clone()
    one.zero_()
    assert torch.equal(torch.autograd.grad(gap, y)[0], kept)
    for layer in (layers.sinkhorn, layers.sinkhorn_plan):
        C = costs(at)
        out = layer(None, None, C, 0.1)
        weights = torch.linspace(0, 1, out.numel(), dtype=C.dtype, device=C.device).reshape(
            out.shape
        )
        (one,) = torch.autograd.grad(out, C, weights, retain_graph=True)
        kept = one.clone()
        one.zero_()
        with torch.no_grad():
            out.zero_()
        assert torch.equal(torch.autograd.grad(out, C, weights)[0], kept)


def test_changes_between_forward_and_backward(at):
    """Points are copied; costs are used where they lie, so that a change of theirs raises."""
    x, y, _, _ = tensors(8, 8, at=at)
    gap = layers.monge_gap(x, y, reg=0.3, **TOL)
    (want,) = torch.autograd.grad(gap, y, retain_graph=True)
    with torch.no_grad():
        x += 1
    np.testing.assert_array_equal(torch.autograd.grad(gap, y)[0].cpu(), want.cpu())
    for layer in (layers.sinkhorn, layers.sinkhorn_plan):
        C = costs(at)
        out = layer(None, None, C, 0.1).sum()
        with torch.no_grad():
            C += 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            out.backward()


def test_errors_reach_the_caller():
    x, y, _, _ = tensors()
    with pytest.raises(ValueError, match="as many points"):
        layers.monge_gap(x, y)
    with pytest.raises(TypeError, match="real"):
        layers.monge_gap(torch.zeros(3, 2, dtype=torch.complex128), torch.zeros(3, 2))


@pytest.mark.parametrize("layer", [layers.sinkhorn, layers.sinkhorn_plan])
def test_what_is_no_tensor_of_floats(layer):
    C = np.random.default_rng(0).random((4, 5))
    want = layer(None, None, torch.tensor(C), 0.1)
    locked = C.copy()
    locked.flags.writeable = False
    for given in (C, C.tolist(), locked, C[::-1].copy()[::-1], C.astype(">f8")):
        torch.testing.assert_close(layer(None, None, given, 0.1), want)
    tens = (10 * C).astype(int)
    got = [layer(None, None, v, 0.1) for v in (tens, torch.tensor(tens), torch.tensor(1.0 * tens))]
    assert got[0].dtype == got[1].dtype == torch.float64
    for v in got[:2]:
        torch.testing.assert_close(v, got[2].double())
    with pytest.raises(ValueError, match=r"^C is a masked array"):
        layer(None, None, np.ma.array(C, mask=C > 0.5), 0.1)
    with pytest.raises(TypeError, match=r"^C must hold real numbers"):
        layer(None, None, torch.tensor(C + 0j), 0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_on_the_host(dtype):
    C, logits = torch.rand(4, 50).to(dtype), torch.randn(50).to(dtype)
    w = torch.softmax(logits, 0)
    r = otf.sinkhorn(None, w, C, 0.1)
    assert r.plan.dtype == np.float32
    want = otf.sinkhorn(None, w.double(), C.float(), 0.1)
    np.testing.assert_allclose(r.plan, want.plan, rtol=1e-6)
    value = layers.sinkhorn(None, w, C, 0.1)
    assert value.dtype == dtype
    assert float(value) == pytest.approx(want.value, rel=1e-2)


@pytest.mark.parametrize(
    "make",
    [
        lambda C: C.to("meta"),
        lambda C: C.to_sparse(),
        lambda C: torch.stack([0 * C, C], -1)[..., 1].to(torch.float8_e4m3fn),
        lambda C: torch.imag(torch.complex(0 * C, C).conj()),
        lambda C: [row.requires_grad_() for row in C],
    ],
    ids=["meta", "sparse", "float8", "negative bit", "list that requires gradients"],
)
def test_tensors_that_numpy_cannot_read(make):
    with pytest.raises(TypeError, match=r"^C must be a real array: "):
        otf.sinkhorn(None, None, make(torch.rand(4, 5)), 0.1)


def test_inputs_live_on_one_device(monkeypatch):
    if reason := available():
        pytest.skip(reason)
    install_torch(monkeypatch)
    x, y, _, _ = tensors()
    host = np.ones(9) / 9
    for call in (
        lambda: otf.monge_gap(x, y.detach().numpy()),
        lambda: otf.sinkhorn(host, None, x, 0.1),
        lambda: otf.sinkhorn(None, None, x, 0.1).plan_vjp(np.ones((9, 3))),
    ):
        with pytest.raises(TypeError, match="lives in"):
            call()
    with pytest.raises(ValueError, match="threads is for host arrays"):
        layers.sinkhorn_divergence(x, y, reg=0.1, threads=1)


def test_out_of_memory_is_a_memory_error(monkeypatch):
    if reason := available():
        pytest.skip(reason)
    install_torch(monkeypatch)
    x, y, _, _ = tensors(8, 8)
    gap = layers.monge_gap(x, y, reg=0.3)

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "full", full)  # what the library's `empty` is here
    with pytest.raises(MemoryError, match="out of memory"):
        gap.backward()
    monkeypatch.undo()
    assert layers.monge_gap(x, y, reg=0.3).item() == pytest.approx(gap.item())


@pytest.mark.gpu
def test_layers_work_in_the_callers_stream():
    if reason := otf.info()["cuda"]["reason"]:
        pytest.skip(reason)
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch has no CUDA device")
    x, y, _, _ = tensors(2000, 2000)
    (want,) = torch.autograd.grad(layers.monge_gap(x, y, reg=0.3), y)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        u, v = (t.detach().cuda() for t in (x, y))
        for _ in range(200):  # v is only right once these are through
            v = v * 2
            v = v / 2
        v.requires_grad_()
        (got,) = torch.autograd.grad(layers.monge_gap(u, v, reg=0.3), v)
        np.testing.assert_allclose(got.cpu(), want, atol=1e-6)
    with pytest.raises(TypeError, match="lives in"):
        layers.monge_gap(x, v)


def test_the_package_does_not_import_torch(run_python):
    run_python(
        "import ot_fast, sys; assert 'torch' not in sys.modules and 'jax' not in sys.modules"
    )


@pytest.fixture(scope="module")
def moons():
    path = pathlib.Path(__file__).parents[1] / "examples" / "moons.py"
    found = importlib.util.spec_from_file_location("moons", path)
    module = importlib.util.module_from_spec(found)
    sys.modules["moons"] = module
    found.loader.exec_module(module)
    return module


def test_a_map_learns_and_its_gap_falls(moons, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fits = [moons.fit("sqeuclidean", w, 300, batch=64, progress=False) for w in (0.0, 1.0)]
    finally:
        torch.set_num_threads(threads)
    free, held = fits
    assert free.divergence[-30:].mean() < 0.2 * free.divergence[:30].mean()
    assert held.divergence[-30:].mean() < 0.2 * held.divergence[:30].mean()
    assert np.nanmean(held.gap[-30:]) < 0.9 * np.nanmean(held.gap[:30])
    assert np.nanmean(held.gap[-30:]) < 0.7 * np.nanmean(free.gap[-30:])
    rng = np.random.default_rng(1)
    x = moons.moons(256, rng)
    gaps = [otf.monge_gap(x, f(x), reg=0.01, tol=1e-4).value for f in fits]
    assert gaps[1] < 0.5 * gaps[0]
    moons.draw(fits, tmp_path / "moons.png")
    assert (tmp_path / "moons.png").stat().st_size > 20_000


def test_docstrings():
    import doctest

    assert doctest.testmod(layers).attempted
    assert not doctest.testmod(layers).failed


# ---- one dimension -----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_wasserstein_1d(at, p):
    x, y, u, v = tensors(n=9, m=7, d=2, at=at)
    x, y = x.T, y.T[:, None]  # (2, 9) and (2, 1, 7): a batch of (2, 2)

    def distances(x, y, u, v):
        return layers.wasserstein_1d(x, y, softmax(u), softmax(v), p)

    W = distances(x, y, u, v)
    want = otf.wasserstein_1d(*(w.detach() for w in (x, y, softmax(u), softmax(v))), p)
    np.testing.assert_array_equal(W.detach().cpu(), np.asarray(want))
    assert W.shape == (2, 2)
    x, y = (w.detach().requires_grad_() for w in (x, y))
    assert torch.autograd.gradcheck(distances, (x, y, u, v), eps=1e-7, atol=1e-5)


def test_wasserstein_1d_on_a_circle(at):
    x, y, u, v = tensors(d=1, at=at)
    x, y = (w[:, 0].detach().requires_grad_() for w in (x, y))
    a, b = softmax(u).detach(), softmax(v).detach()
    assert torch.autograd.gradcheck(
        lambda x, y: layers.wasserstein_1d(x, y, a, b, 2, period=1.7), (x, y), eps=1e-7, atol=1e-5
    )
    with pytest.raises(ValueError, match="points on the line"):
        layers.wasserstein_1d(x, y, softmax(u), softmax(v), period=1.7)


@pytest.mark.parametrize("p", [1, 2])
def test_sliced_wasserstein(at, p):
    x, y, u, v = tensors(at=at)

    def value(x, y, u, v):
        return layers.sliced_wasserstein(x, y, softmax(u), softmax(v), p=p, seed=0)

    assert torch.autograd.gradcheck(value, (x, y, u, v), eps=1e-7, atol=1e-5)


def test_points_flow_to_others(at):
    x, y, _, _ = tensors(n=7, m=7, at=at)
    optimizer = torch.optim.SGD([x], lr=5.0)
    for seed in range(300):
        optimizer.zero_grad()
        (layers.sliced_wasserstein(x, y.detach(), seed=seed) ** 2).backward()
        optimizer.step()
    assert otf.sliced_wasserstein(x.detach(), y.detach(), seed=0).value < 0.01
