"""The JAX layers under grad, jit and vmap."""

from __future__ import annotations

import numpy as np
import pytest
from problems import COSTS, spec

jax = pytest.importorskip("jax", reason="the jax extra is not installed")

import jax.numpy as jnp  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import ot_fast as otf  # noqa: E402
import ot_fast.jax as layers  # noqa: E402

TOL = {"tol": 1e-12}


@pytest.fixture(autouse=True)
def wide():
    with jax.enable_x64(True):
        yield


def arrays(n=9, m=7, d=3):
    rng = np.random.default_rng(0)
    shapes = (n, d), (m, d), (n,), (m,)
    return [jnp.asarray(rng.normal(size=s)) for s in shapes]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("layer", [layers.sinkhorn_divergence, layers.sinkhorn_clouds])
@pytest.mark.parametrize("rho", [None, 0.5])
def test_gradients_of_cloud_losses(cost, layer, rho):
    weights = jax.nn.softmax if rho is None else jnp.exp

    def loss(x, y, a, b):
        options = {"reg": 0.3, "unbalanced": rho, **spec(cost), **TOL}
        return layer(x, y, weights(a), weights(b), **options)

    check_grads(loss, arrays(), 1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("debias", [False, True])
def test_gradients_of_the_gap(debias):
    x, y, _, _ = arrays(8, 8)

    def loss(u, v):
        return layers.monge_gap(u, v, reg=0.3, debias=debias, **TOL)

    check_grads(loss, (x, y), 1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_dense_value():
    C = jnp.asarray(np.random.default_rng(1).random((9, 7)))
    _, _, a, b = arrays()

    def value(a, b, C):
        return layers.sinkhorn(jax.nn.softmax(a), jax.nn.softmax(b), C, 0.1, **TOL)

    check_grads(value, (a, b, C), 1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)
    plan = jax.grad(lambda C: layers.sinkhorn(None, None, C, 0.1, **TOL))(C)
    np.testing.assert_allclose(plan, otf.sinkhorn(None, None, np.asarray(C), 0.1, **TOL).plan)


def test_gradients_of_exact_transport():
    C = jnp.asarray(np.random.default_rng(1).random((9, 7)))
    _, _, a, b = arrays()

    def value(a, b, C):
        return layers.emd_value(jax.nn.softmax(a), jax.nn.softmax(b), C)

    check_grads(value, (a, b, C), 1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)
    plan = jax.grad(lambda C: layers.emd_value(None, None, C))(C)
    np.testing.assert_allclose(plan, otf.emd(None, None, np.asarray(C)).plan)


def test_jit_vmap_and_grad_together():
    x, _, _, _ = arrays(8, 8)
    images = jnp.stack([x + 1, 2 * x, x[::-1]])

    def loss(y, reg):
        return layers.monge_gap(x, y, reg=reg, **TOL)

    step = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(0, None)))
    values, gradients = step(images, 0.2)
    for y, value, gradient in zip(images, values, gradients, strict=True):
        expected = otf.monge_gap(np.asarray(x), np.asarray(y), reg=0.2, **TOL)
        assert float(value) == pytest.approx(expected.value, rel=1e-12)
        np.testing.assert_allclose(gradient, expected.gradient, rtol=1e-10, atol=1e-14)


def test_equal_calls_compile_once():
    x, y, _, _ = arrays(8, 8)
    traced = []

    @jax.jit
    def step(y):
        traced.append(1)
        return layers.monge_gap(x, y, reg=0.2)

    step(y)
    step(y + 1)
    assert len(traced) == 1
    assert layers._Static(layers._gap, {"tol": 1}) == layers._Static(layers._gap, {"tol": 1})


def test_single_precision():
    with jax.enable_x64(False):
        x, y, _, _ = arrays(30, 30)
        value, gradient = jax.value_and_grad(lambda v: layers.monge_gap(x, v, reg=0.3, tol=1e-5))(y)
    assert value.dtype == gradient.dtype == jnp.float32
    expected = otf.monge_gap(np.asarray(x), np.asarray(y), reg=0.3, tol=1e-5)
    assert float(value) == pytest.approx(expected.value, rel=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision(dtype):
    x, y, _, _ = (v.astype(dtype) for v in arrays(30, 30))
    C, w = abs(x @ y.T), jax.nn.softmax(x[:, 0])
    r = otf.sinkhorn(None, w, C, 0.5)
    assert r.plan.dtype == np.float32
    value, gradient = jax.value_and_grad(lambda C: layers.sinkhorn(None, w, C, 0.5))(C)
    assert value.dtype == gradient.dtype == dtype
    assert float(value) == pytest.approx(r.value, rel=1e-2)
    assert otf.sinkhorn_divergence(x, y, reg=1.0).gradient_x.dtype == np.float32


def test_masked_arrays_are_refused():
    x, y, _, _ = (np.asarray(v) for v in arrays(8, 8))
    for layer in (layers.monge_gap, layers.sinkhorn_divergence, layers.sinkhorn_clouds):
        with pytest.raises(ValueError, match=r"^x is a masked array"):
            layer(np.ma.array(x, mask=x > 0), y, reg=0.3)
    with pytest.raises(ValueError, match=r"^b is a masked array"):
        layers.sinkhorn(None, np.ma.array(np.ones(8), mask=np.eye(8)[0]), abs(x @ y.T), 0.3)


def test_errors_name_the_argument():
    x, y, _, _ = arrays(8, 8)
    with pytest.raises(Exception, match="cost must be one of"):
        layers.monge_gap(x, y, reg=0.3, cost="minkowski").block_until_ready()


@pytest.mark.parametrize("reg", [0.0, -1.0, float("nan")])
def test_a_wrong_reg_is_not_the_default_one(reg):
    x, y, _, _ = arrays(8, 8)
    with pytest.raises(Exception, match="reg must be a finite real number > 0"):
        layers.monge_gap(x, y, reg=reg).block_until_ready()


def test_docstrings():
    import doctest

    with jax.enable_x64(False):
        result = doctest.testmod(layers)
    assert result.attempted
    assert not result.failed
