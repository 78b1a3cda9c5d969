"""Differentiable layers for JAX: ``import ot_fast.jax``.

Each layer is a ``custom_vjp`` around a host callback: it works under ``jit``, ``grad`` and ``vmap``
(which solves one problem after the other), and in the precision of its inputs. Gradients come from
potentials, never through the solver. Options are those of the function of the same name in
``ot_fast``, and static; reg may be traced, and is taken as a constant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import divergence, entropic, exact, monge
from ._arrays import to_numpy
from ._entropic_cost import entropic_cost

__all__ = ["emd_value", "monge_gap", "sinkhorn", "sinkhorn_clouds", "sinkhorn_divergence"]

Solve = Callable[..., Any]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _layer(solve: Solve, names: tuple[str, ...], reg: Any, *inputs: Any) -> Any:
    """solve(reg, *inputs).value, whose gradients in the inputs are its attributes `names`."""
    return _call(solve, (), reg, inputs)[0]


def _forward(solve: Solve, names: tuple[str, ...], reg: Any, *inputs: Any) -> Any:
    value, *gradients = _call(solve, names, reg, inputs)
    return value, (reg, gradients)


def _backward(solve: Solve, names: tuple[str, ...], kept: Any, upstream: Any) -> Any:
    reg, gradients = kept
    return (jnp.zeros_like(reg), *(upstream * g for g in gradients))


_layer.defvjp(_forward, _backward)


def _call(solve: Solve, names: tuple[str, ...], reg: Any, inputs: tuple[Any, ...]) -> Any:
    dtype = inputs[0].dtype
    shapes = [jax.ShapeDtypeStruct((), dtype)]
    shapes += [jax.ShapeDtypeStruct(v.shape, v.dtype) for v, _ in zip(inputs, names, strict=False)]

    def host(reg: Any, *arrays: Any) -> Any:
        result = solve(float(reg), *(np.asarray(v) for v in arrays))
        out = [result.value, *(getattr(result, name) for name in names)]
        return tuple(np.asarray(v, s.dtype) for v, s in zip(out, shapes, strict=True))

    return jax.pure_callback(host, tuple(shapes), reg, *inputs, vmap_method="sequential")


def _array(value: Any, name: str) -> Any:
    """An array of JAX; what is none becomes one as NumPy reads it."""
    return value if isinstance(value, jax.Array) else jnp.asarray(to_numpy(value, name))


def _floats(**values: Any) -> list[Any]:
    arrays = [_array(v, name) for name, v in values.items()]
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return [v.astype(dtype) for v in arrays]


class _Static:
    """A function and its options, equal where they are: jit compiles once for all calls."""

    def __init__(self, call: Solve, options: dict[str, Any]) -> None:
        self.call, self.options = call, options
        self.key = (call, tuple(sorted(options.items(), key=lambda item: item[0])))

    def __call__(self, *args: Any) -> Any:
        return self.call(*args, **self.options)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Static) and self.key == other.key


def _gap(reg: float, x: Any, Tx: Any, **options: Any) -> Any:
    return monge.monge_gap(x, Tx, reg=reg, **options)


def _gap_at_default_reg(_reg: float, x: Any, Tx: Any, **options: Any) -> Any:
    return monge.monge_gap(x, Tx, **options)


def _divergence(reg: float, *inputs: Any, **options: Any) -> Any:
    return divergence.sinkhorn_divergence(*inputs, reg=reg, **options)


def _clouds(reg: float, *inputs: Any, **options: Any) -> Any:
    return entropic_cost(*inputs, reg=reg, **options)


class _Solved:
    """A result of `sinkhorn` or `emd` with its gradients by the names that `_layer` reads."""

    def __init__(self, r: Any) -> None:
        self.value, self.gradient_a, self.gradient_b = r.value, r.f, r.g
        self._result = r

    @property
    def gradient_C(self) -> Any:
        return self._result.plan


def _sinkhorn(reg: float, a: Any, b: Any, C: Any, **options: Any) -> Any:
    return _Solved(entropic.sinkhorn(a, b, C, reg, **options))


def _emd(_reg: float, a: Any, b: Any, C: Any, **options: Any) -> Any:
    return _Solved(exact.emd(a, b, C, **options))


def _weights(w: Any, name: str, size: int, like: Any) -> Any:
    return jnp.full(size, 1.0 / size, like.dtype) if w is None else _array(w, name)


def monge_gap(x: Any, Tx: Any, *, reg: Any = None, **options: Any) -> Any:
    """:func:`ot_fast.monge_gap`, differentiable in x and Tx.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, ot_fast.jax as layers
    >>> x = jax.random.normal(jax.random.key(0), (50, 2))
    >>> gap = jax.jit(jax.value_and_grad(lambda y: layers.monge_gap(x, y, reg=0.1, tol=1e-4)))
    >>> value, gradient = gap(2 * x)
    >>> gradient.shape
    (50, 2)
    """
    x, Tx = _floats(x=x, Tx=Tx)
    call = _gap_at_default_reg if reg is None else _gap
    reg = jnp.asarray(0.0 if reg is None else reg)
    return _layer(_Static(call, options), ("gradient_x", "gradient"), reg, x, Tx)


def sinkhorn_divergence(
    x: Any, y: Any, a: Any = None, b: Any = None, *, reg: Any, **options: Any
) -> Any:
    """:func:`ot_fast.sinkhorn_divergence`, differentiable in x, y, a and b."""
    return _of_clouds(_divergence, x, y, a, b, reg, options)


def sinkhorn_clouds(
    x: Any, y: Any, a: Any = None, b: Any = None, *, reg: Any, **options: Any
) -> Any:
    """``min <C,P> + reg KL(P | a (x) b)`` between clouds, differentiable in x, y, a and b.

    Options are those of :func:`ot_fast.sinkhorn_divergence`; C is never stored.
    """
    return _of_clouds(_clouds, x, y, a, b, reg, options)


def _of_clouds(
    call: Solve, x: Any, y: Any, a: Any, b: Any, reg: Any, options: dict[str, Any]
) -> Any:
    x, y = _floats(x=x, y=y)
    a, b = _weights(a, "a", len(x), x), _weights(b, "b", len(y), y)
    names = ("gradient_x", "gradient_y", "gradient_a", "gradient_b")
    return _layer(_Static(call, options), names, jnp.asarray(reg), x, y, a, b)


def sinkhorn(a: Any, b: Any, C: Any, reg: Any, **options: Any) -> Any:
    """The ``value`` of :func:`ot_fast.sinkhorn`, differentiable in a, b and C."""
    return _of_costs(_sinkhorn, a, b, C, jnp.asarray(reg), options)


def emd_value(a: Any, b: Any, C: Any, **options: Any) -> Any:
    """The ``value`` of :func:`ot_fast.emd`, differentiable in a, b and C.

    The gradients are f, g and the plan; where the solution is not unique, a subgradient.
    """
    return _of_costs(_emd, a, b, C, jnp.asarray(0.0), options)


def _of_costs(call: Solve, a: Any, b: Any, C: Any, reg: Any, options: dict[str, Any]) -> Any:
    (C,) = _floats(C=C)
    a, b = _weights(a, "a", C.shape[0], C), _weights(b, "b", C.shape[1], C)
    names = ("gradient_a", "gradient_b", "gradient_C")
    return _layer(_Static(call, options), names, reg, a, b, C)
