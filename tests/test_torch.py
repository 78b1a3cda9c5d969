"""The PyTorch layers: gradcheck in float64, float32, errors, and a map that learns."""

from __future__ import annotations

import importlib.util
import pathlib
import sys

import numpy as np
import pytest
from problems import COSTS, spec

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

import ot_fast as otf  # noqa: E402
import ot_fast.torch as layers  # noqa: E402

TOL = {"tol": 1e-12}


def tensors(n=9, m=7, d=3, seed=0):
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=(n, d)), 0.3 + rng.normal(size=(m, d)), *rng.normal(size=(2, 9))
    return [
        torch.tensor(v[:k], requires_grad=True) for v, k in zip(arrays, (n, m, n, m), strict=True)
    ]


def softmax(logits):
    return torch.softmax(logits, 0)  # weights that always sum to 1


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("layer", [layers.sinkhorn_divergence, layers.sinkhorn_clouds])
@pytest.mark.parametrize("rho", [None, 0.5])
def test_gradcheck_of_cloud_losses(cost, layer, rho):
    weights = softmax if rho is None else torch.exp  # unbalanced masses may differ

    def loss(x, y, a, b):
        options = {"reg": 0.3, "unbalanced": rho, **spec(cost), **TOL}
        return layer(x, y, 2 * weights(a), 2 * weights(b), **options)

    assert torch.autograd.gradcheck(loss, tensors())


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("debias", [False, True])
def test_gradcheck_of_the_gap(cost, debias):
    x, y, _, _ = tensors(8, 8)
    options = {"reg": 0.3, "debias": debias, **spec(cost), **TOL}
    assert torch.autograd.gradcheck(lambda u, v: layers.monge_gap(u, v, **options), (x, y))


@pytest.mark.parametrize("layer", [layers.sinkhorn, layers.sinkhorn_plan])
@pytest.mark.parametrize("mass", [1.0, 3.0])
def test_gradcheck_of_dense_layers(layer, mass):
    _, _, a, b = tensors()
    C = torch.rand(9, 7, dtype=torch.float64, generator=torch.manual_seed(0)).requires_grad_()

    def value(a, b, C):
        return layer(mass * softmax(a), mass * softmax(b), C, 0.1, **TOL)

    assert torch.autograd.gradcheck(value, (a, b, C))
    assert torch.autograd.gradcheck(lambda C: layer(None, None, C, 0.1, **TOL), (C,))


def test_values_are_those_of_numpy():
    x, y, a, b = (t.detach() for t in tensors())
    a, b = softmax(a), softmax(b)
    C = torch.cdist(x, y)
    value = layers.sinkhorn(a, b, C, 0.2)
    assert value.item() == otf.sinkhorn(a.numpy(), b.numpy(), C.numpy(), 0.2).value
    for mass in (1.0, 2.5):
        clouds = layers.sinkhorn_clouds(x, y, mass * a, mass * b, reg=0.2, cost="euclidean", **TOL)
        dense = otf.sinkhorn(mass * a.numpy(), mass * b.numpy(), C.numpy(), 0.2, tol=1e-12).value
        assert clouds.item() == pytest.approx(dense, abs=1e-9)
    got = layers.sinkhorn_divergence(x, y, reg=0.2).item()
    assert got == otf.sinkhorn_divergence(x.numpy(), y.numpy(), reg=0.2).value


def test_single_precision_and_only_the_gradients_asked_for():
    x, y, _, _ = tensors(20, 20)
    x = x.detach().float()
    y = y.detach()[:7].repeat(3, 1)[:20].float().requires_grad_()
    gap = layers.monge_gap(x, y, reg=0.3, tol=1e-5)
    assert gap.dtype == torch.float32
    (3 * gap).backward()
    assert y.grad.dtype == torch.float32
    assert x.grad is None
    expected = otf.monge_gap(x.numpy(), y.detach().numpy(), reg=0.3, tol=1e-5).gradient
    np.testing.assert_allclose(y.grad, 3 * expected, rtol=1e-6)


def test_gradients_are_the_callers():
    x, y, _, _ = tensors(8, 8)
    gap = layers.monge_gap(x, y, reg=0.3)
    (one,) = torch.autograd.grad(gap, y, retain_graph=True)
    kept = one.clone()
    one.zero_()
    assert torch.equal(torch.autograd.grad(gap, y)[0], kept)


def test_errors_reach_the_caller():
    x, y, _, _ = tensors()
    with pytest.raises(ValueError, match="as many points"):
        layers.monge_gap(x, y)
    with pytest.raises(TypeError, match="real"):
        layers.monge_gap(torch.zeros(3, 2, dtype=torch.complex128), torch.zeros(3, 2))


class OnDevice:
    """What a CUDA tensor shows of itself."""

    __module__ = "torch"
    __cuda_array_interface__ = {"shape": (3, 2)}  # noqa: RUF012
    device = torch.device("cuda", 0)


def test_device_arrays_raise_a_clear_error(monkeypatch):
    monkeypatch.setattr(layers, "_tensors", lambda *v: [OnDevice() for _ in v])
    monkeypatch.setattr(
        layers._Points, "apply", lambda s, n, *v: s(*(layers._host(t, "x") for t in v))
    )
    with pytest.raises(TypeError, match="layers are computed on the CPU only so far"):
        layers.monge_gap(None, None)


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
