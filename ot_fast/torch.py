"""Differentiable layers for PyTorch: ``import ot_fast.torch``.

Every layer solves once, forward; backward computes the gradient from the potentials (the envelope
theorem), for the plan by one linear solve. No iteration is differentiated. Layers are
differentiable once. Options are those of the function of the same name in ``ot_fast``.

CUDA tensors are solved on their device, forward and backward, in the current stream; all inputs of
a layer must live on one device. Points are copied; backward reads a, b and C again, so that
changing them in place before it raises.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import divergence, entropic, exact, monge, sliced
from ._arrays import as_float, to_numpy
from ._entropic_cost import entropic_cost
from .one_dimension import Problems

__all__ = [
    "emd_value",
    "monge_gap",
    "sinkhorn",
    "sinkhorn_clouds",
    "sinkhorn_divergence",
    "sinkhorn_plan",
    "sliced_wasserstein",
    "wasserstein_1d",
]

_GRADIENTS = ("gradient_x", "gradient_y", "gradient_a", "gradient_b")


def _tensors(**values: Any) -> list[Any]:
    """Tensors of floats; what is no tensor becomes one as NumPy reads it."""
    return [None if v is None else _tensor(v, name) for name, v in values.items()]


def _tensor(value: Any, name: str) -> torch.Tensor:
    if not torch.is_tensor(value):
        array = as_float(to_numpy(value, name))
        return torch.as_tensor(np.require(array, requirements=["C", "W"]))
    if value.is_floating_point() or value.is_complex():  # a complex one is refused later
        return value
    return value.double()


def _detached(value: Any) -> Any:
    return None if value is None else value.detach()


def _like(array: Any, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that no result keeps: of a read-only array, a copy."""
    return (torch.tensor(array) if isinstance(array, np.ndarray) else array).to(tensor)


def _scalar(value: float, *tensors: Any) -> torch.Tensor:
    first = next(t for t in tensors if t is not None)
    return torch.tensor(value, dtype=first.dtype, device=first.device)


class _Points(Function):
    """A loss of (x, y, a, b) whose result has the gradients `names` in them."""

    @staticmethod
    def forward(ctx: Any, solve: Any, names: tuple[str, ...], *inputs: Any) -> torch.Tensor:
        ctx.names, ctx.inputs = names, [_detached(v) for v in inputs]
        ctx.result = solve(*ctx.inputs)
        return _scalar(ctx.result.value, *inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        out: list[Any] = [None, None]
        for name, like, needed in zip(ctx.names, ctx.inputs, ctx.needs_input_grad[2:], strict=True):
            out.append(upstream * _like(getattr(ctx.result, name), like) if needed else None)
        return tuple(out)


def monge_gap(x: Any, Tx: Any, **options: Any) -> torch.Tensor:
    """:func:`ot_fast.monge_gap`, differentiable in x and Tx.

    Examples
    --------
    >>> import torch, ot_fast.torch as layers
    >>> x = torch.randn(50, 2, dtype=torch.float64)
    >>> Tx = (2 * x).requires_grad_()
    >>> layers.monge_gap(x, Tx, reg=0.1).backward()
    >>> Tx.grad.shape
    torch.Size([50, 2])
    """
    solve = partial(monge.monge_gap, **options)
    return _Points.apply(solve, ("gradient_x", "gradient"), *_tensors(x=x, Tx=Tx))


def sinkhorn_divergence(
    x: Any, y: Any, a: Any = None, b: Any = None, *, reg: float, **options: Any
) -> torch.Tensor:
    """:func:`ot_fast.sinkhorn_divergence`, differentiable in x, y, a and b."""
    solve = partial(divergence.sinkhorn_divergence, reg=reg, **options)
    return _Points.apply(solve, _GRADIENTS, *_tensors(x=x, y=y, a=a, b=b))


def sinkhorn_clouds(
    x: Any, y: Any, a: Any = None, b: Any = None, *, reg: float, **options: Any
) -> torch.Tensor:
    """``min <C,P> + reg KL(P | a (x) b)`` between clouds, differentiable in x, y, a and b.

    Options are those of :func:`ot_fast.sinkhorn_divergence`; C is never stored.
    """
    solve = partial(entropic_cost, reg=reg, **options)
    return _Points.apply(solve, _GRADIENTS, *_tensors(x=x, y=y, a=a, b=b))


def sliced_wasserstein(
    x: Any, y: Any, a: Any = None, b: Any = None, **options: Any
) -> torch.Tensor:
    """:func:`ot_fast.sliced_wasserstein`, differentiable in x, y, a and b.

    Examples
    --------
    >>> import torch, ot_fast.torch as layers
    >>> x = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    >>> (layers.sliced_wasserstein(x, x.detach() + 1, seed=0) ** 2).backward()
    >>> x.grad.shape
    torch.Size([50, 3])
    """
    solve = partial(sliced.sliced_wasserstein, **options)
    return _Points.apply(solve, _GRADIENTS, *_tensors(x=x, y=y, a=a, b=b))


class _Rows(Function):
    """Distances of a batch; their derivatives are computed with them."""

    @staticmethod
    def forward(ctx: Any, options: Any, *inputs: Any) -> torch.Tensor:
        problems = Problems.of(*map(_detached, inputs), **options)
        _, x, y, a, b = ctx.needs_input_grad
        W, *gradients = problems.solve(points=x or y, weights=a or b)
        ctx.gradients, ctx.batch = gradients, problems.batch
        ctx.inputs = [_detached(v) for v in inputs]
        return torch.as_tensor(W.reshape(problems.batch)).to(inputs[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        out: list[Any] = [None]
        for gradient, like, needed in zip(
            ctx.gradients, ctx.inputs, ctx.needs_input_grad[1:], strict=True
        ):
            if needed:
                rows = torch.as_tensor(gradient.reshape(*ctx.batch, -1)).to(like)
                out.append((upstream[..., None] * rows).sum_to_size(like.shape))
            else:
                out.append(None)
        return tuple(out)


def wasserstein_1d(
    x: Any,
    y: Any,
    a: Any = None,
    b: Any = None,
    p: float = 1,
    *,
    period: float | None = None,
    threads: int | None = None,
) -> torch.Tensor:
    """:func:`ot_fast.wasserstein_1d`, differentiable in x, y, and on the line in a and b.

    Examples
    --------
    >>> import torch, ot_fast.torch as layers
    >>> x = torch.randn(8, 50, dtype=torch.float64, requires_grad=True)
    >>> layers.wasserstein_1d(x, torch.zeros(1), p=2).sum().backward()  # 50 points to one
    >>> x.grad.shape
    torch.Size([8, 50])
    """
    options = {"p": p, "period": period, "threads": threads}
    return _Rows.apply(options, *_tensors(x=x, y=y, a=a, b=b))


def _solved(ctx: Any, solve: Any, *inputs: Any) -> Any:
    """The result of a dense problem, kept for backward with what it reads: the costs themselves."""
    ctx.save_for_backward(*inputs)
    ctx.result = solve(*map(_detached, inputs))
    return ctx.result


class _Value(Function):
    @staticmethod
    def forward(ctx: Any, solve: Any, a: Any, b: Any, C: Any) -> torch.Tensor:
        return _scalar(_solved(ctx, solve, a, b, C).value, C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        out = [
            upstream * _like(getattr(ctx.result, name), like) if needed else None
            for name, like, needed in zip(
                ("f", "g", "plan"), ctx.saved_tensors, ctx.needs_input_grad[1:4], strict=True
            )
        ]
        return (None, *out)


def emd_value(a: Any, b: Any, C: Any, **options: Any) -> torch.Tensor:
    """The ``value`` of :func:`ot_fast.emd`, differentiable in a, b and C.

    The gradients are f, g and the plan; where the solution is not unique, a subgradient.

    Examples
    --------
    >>> import torch, ot_fast.torch as layers
    >>> x = torch.rand(20, 2, dtype=torch.float64, requires_grad=True)
    >>> y = torch.rand(30, 2, dtype=torch.float64)
    >>> layers.emd_value(None, None, torch.cdist(x, y)).backward()
    >>> x.grad.shape
    torch.Size([20, 2])
    """
    return _Value.apply(partial(exact.emd, **options), *_tensors(a=a, b=b, C=C))


def sinkhorn(a: Any, b: Any, C: Any, reg: float, **options: Any) -> torch.Tensor:
    """The ``value`` of :func:`ot_fast.sinkhorn`, differentiable in a, b and C.

    The gradients are f, g and the plan.

    Examples
    --------
    >>> import torch, ot_fast.torch as layers
    >>> C = torch.rand(20, 30, dtype=torch.float64, requires_grad=True)
    >>> layers.sinkhorn(None, None, C, 0.1).backward()
    >>> bool((C.grad.sum(1) - 1 / 20).abs().max() < 1e-9)
    True
    """
    solve = partial(entropic.sinkhorn, reg=reg, **options)
    return _Value.apply(solve, *_tensors(a=a, b=b, C=C))


class _Plan(Function):
    @staticmethod
    def forward(ctx: Any, solve: Any, a: Any, b: Any, C: Any) -> torch.Tensor:
        return _like(_solved(ctx, solve, a, b, C).plan, C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        inputs = ctx.saved_tensors
        out = [
            _like(g, like) if needed else None
            for g, like, needed in zip(
                ctx.result.plan_vjp(upstream), inputs, ctx.needs_input_grad[1:4], strict=True
            )
        ]
        return (None, *out)


def sinkhorn_plan(a: Any, b: Any, C: Any, reg: float, **options: Any) -> torch.Tensor:
    """The ``plan`` of :func:`ot_fast.sinkhorn`, shape (n, m), differentiable in a, b and C.

    By implicit differentiation, see :meth:`ot_fast.OTResult.plan_vjp`.
    """
    solve = partial(entropic.sinkhorn, reg=reg, **options)
    return _Plan.apply(solve, *_tensors(a=a, b=b, C=C))
