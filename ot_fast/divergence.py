"""The Sinkhorn divergence between weighted clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._costs import cost_of
from ._geometry import PointCloud
from ._transport import (
    ON_FAIL,
    Given,
    Transport,
    WarmStart,
    clouds_of,
    options_of,
    report,
    start_of,
    total,
)

Vector = NDArray[np.float64]


class SinkhornDivergence:
    """A Sinkhorn divergence, with its gradients in positions and weights.

    Attributes
    ----------
    value : float
        The divergence.
    gradient : tuple of ndarray
        ``(gradient_x, gradient_y)``, shapes (n, d) and (m, d), in the dtype of the points.
    gradient_x, gradient_y : ndarray
        Gradients in the positions: two passes over costs each, on first access.
    gradient_a, gradient_b : ndarray, shapes (n,) and (m,)
        Gradients in the weights. Balanced, they are meant for changes that keep the sums equal, and
        are defined up to a constant.
    potentials : tuple of ndarray
        ``(f, g, f_xx, g_yy)`` in cost units: ``init`` of the next call.
    transport : float
        ``W(x, y)``, the cross term.
    marginal_error : float
        The largest ``|P'1 - b|_1`` of the three terms, relative to their mass.
    converged : bool
    n_iter : int
        Passes over costs, the three terms together.
    """

    def __init__(self, xy: Transport, xx: Transport, yy: Transport, mass: float) -> None:
        self._xy, self._xx, self._yy, self._mass = xy, xx, yy, mass
        value = xy.value - 0.5 * (xx.value + yy.value)
        if not math.isinf(xy.rho):
            value += 0.5 * xy.reg * float(xy.a.sum() - xy.b.sum()) ** 2
        self.value = mass * value
        self.transport = mass * xy.value
        self.marginal_error = max(t.error for t in (xy, xx, yy))
        self.converged = all(t.error <= t.tol for t in (xy, xx, yy))
        self.n_iter = xy.n_iter + xx.n_iter + yy.n_iter

    @cached_property
    def gradient_x(self) -> Any:
        return self._in_points(0, self._xy.gradient_x, self._xx.gradient_x)

    @cached_property
    def gradient_y(self) -> Any:
        return self._in_points(1, self._xy.gradient_y, self._yy.gradient_x)

    def _in_points(self, side: int, cross: Any, own: Any) -> Any:
        # Both sides of half W(x, x) pull alike: together they are one side of the whole.
        return total(self._xy.cloud.points[side], (self._mass, cross), (-self._mass, own))

    @property
    def gradient(self) -> tuple[Any, Any]:
        return self.gradient_x, self.gradient_y

    @cached_property
    def gradient_a(self) -> Any:
        return self._in_weights(self._xy.f, self._xx.f)

    @cached_property
    def gradient_b(self) -> Any:
        return self._in_weights(self._xy.g, self._yy.f)

    def _in_weights(self, cross: Vector, own: Vector) -> Any:
        rho, reg = self._xy.rho, self._xy.reg
        if math.isinf(rho):
            out = cross - own
        else:
            out = (rho + reg) * (np.exp(-own / rho) - np.exp(-cross / rho))
        return self._xy.cloud.place.put(out)

    @property
    def potentials(self) -> tuple[Any, Any, Any, Any]:
        put = self._xy.cloud.place.put
        f, g, f_xx, g_yy = self._host_potentials()
        return put(f), put(g), put(f_xx), put(g_yy)

    def _host_potentials(self) -> tuple[Vector, Vector, Vector, Vector]:
        return self._xy.f, self._xy.g, self._xx.g, self._yy.g

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return (
            f"SinkhornDivergence({self.value:.10g}, reg={self._xy.reg:g}, marginal_error="
            f"{self.marginal_error:.1e}, n_iter={self.n_iter})"
        )


def sinkhorn_divergence(
    x: Any,
    y: Any,
    a: Any = None,
    b: Any = None,
    *,
    reg: float,
    cost: str = "sqeuclidean",
    p: float | None = None,
    unbalanced: float | None = None,
    init: Any = None,
    tol: float | None = None,
    max_iter: int | None = None,
    threads: int | None = None,
    on_fail: str = "warn",
) -> SinkhornDivergence:
    """The debiased entropic cost between two weighted clouds, and its gradients.

    ``S = W(x, y) - W(x, x)/2 - W(y, y)/2`` with ``W = min <C,P> + reg KL(P | a (x) b)``: a smooth
    loss between measures, zero where they agree (and, for the squared Euclidean cost, only there).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points. CUDA arrays (CuPy, PyTorch, JAX) are solved on their device, where the arrays of the
        result live too; a, b and init must live there.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0, uniform by default. Balanced, their sums must be equal.
    reg : float
        Regularisation > 0 in units of the cost.
    cost : {"sqeuclidean", "euclidean", "cityblock", "cosine", "power"}
    p : float, optional
        As in :class:`PointCloud`.
    unbalanced : float, optional
        rho > 0, in units of the cost: marginals are penalised by ``rho KL(P1 | a)`` and ``rho
        KL(P'1 | b)`` instead of fixed, and the masses may differ.
    init : WarmStart, SinkhornDivergence or tuple (f, g, f_xx, g_yy), optional
        Potentials to start from.
    tol : float, optional
        On the L1 error of the marginals, relative to the mass; 1e-6 by default.
    max_iter : int, optional
        Passes over the costs of one term, 100 000 by default.
    threads, on_fail
        As in :func:`sinkhorn`.

    Returns
    -------
    SinkhornDivergence

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, of wrong value or shape, or of several devices.
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    Balanced, any convention for the entropy gives the same S. Unbalanced, this is the S of
    GeomLoss; OTT-JAX regularises by ``-reg H(P)`` there, which is another problem. GeomLoss with
    p = 2 has the cost |x - y|^2 / 2, ``reg = blur^2`` and ``rho = reach^2``: half of this value at
    twice its reg and rho. The terms W(x, x) have one
    potential each, found by averaging two successive Sinkhorn iterates (Feydy et al.,
    Interpolating between optimal transport and MMD, AISTATS 2019); unbalanced, ``reg/2 (sum a - sum
    b)^2`` is added and every step is damped by ``rho / (rho + reg)`` (Sejourne et al., Sinkhorn
    divergences for unbalanced optimal transport, 2019). Gradients are those of the dual at its
    maximum. Memory O((n + m) d) beyond kernels of at most 64 MiB that are kept where they fit.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> d = otf.sinkhorn_divergence(x, x + [3, 0], reg=0.1)
    >>> round(d.value, 6), bool(abs(d.gradient_x.sum(0) - [-6, 0]).max() < 1e-4)
    (9.0, True)
    """
    on_fail = _validate.choice(on_fail, "on_fail", ON_FAIL)
    q = _problem(x, y, a, b, reg, cost, p, unbalanced, tol, max_iter, threads)
    start = _start(init, q)
    xy = start.transport("xy", q.cloud, q.a, q.b, q.reg, **q.options)
    own = [
        start.transport(
            label,
            PointCloud.of(v, v, q.cloud.law),
            w,
            w,
            q.reg,
            symmetric=True,
            **q.options,
        )
        for label, v, w in zip(("xx", "yy"), q.cloud.points, (q.a, q.b), strict=True)
    ]
    result = SinkhornDivergence(xy, own[0], own[1], q.mass)
    report([xy, *own], "sinkhorn_divergence", on_fail, result)
    return result


@dataclass
class _Problem:
    cloud: PointCloud
    a: Vector
    b: Vector
    mass: float
    reg: float
    options: dict[str, Any]


def _problem(
    x: Any,
    y: Any,
    a: Any,
    b: Any,
    reg: Any,
    cost: str = "sqeuclidean",
    p: float | None = None,
    unbalanced: float | None = None,
    tol: float | None = None,
    max_iter: int | None = None,
    threads: int | None = None,
) -> _Problem:
    law = cost_of(cost, p)
    xs, ys = clouds_of(x, y, ("x", "y"))
    n, m = len(xs.array), len(ys.array)
    reg = _validate.real(reg, "reg", positive=True)
    options = options_of(tol, max_iter, threads, xs)
    if unbalanced is None:
        wa, wb, mass, _ = _validate.marginals(a, b, n, m, xs.place)
    else:
        options["rho"] = _validate.real(unbalanced, "unbalanced", positive=True)
        wa = np.full(n, 1.0 / n) if a is None else _validate.weights(a, "a", n, xs.place)[0]
        wb = np.full(m, 1.0 / m) if b is None else _validate.weights(b, "b", m, xs.place)[0]
        mass = 1.0
    cloud = PointCloud.of(xs, ys, law)
    return _Problem(cloud, wa, wb, mass, reg, options)


class EntropicCost:
    """W(x, y) = min <C,P> + reg KL(P | a (x) b), and its gradients."""

    def __init__(self, xy: Transport, mass: float) -> None:
        self._xy, self._mass = xy, mass
        # KL(P | a (x) b) at mass M, where a (x) b has mass M^2.
        terms = mass * mass - mass - mass * math.log(mass)
        self.value = mass * xy.value + xy.reg * terms

    @property
    def gradient_x(self) -> Any:
        return total(self._xy.cloud.points[0], (self._mass, self._xy.gradient_x))

    @property
    def gradient_y(self) -> Any:
        return total(self._xy.cloud.points[1], (self._mass, self._xy.gradient_y))

    @property
    def gradient_a(self) -> Any:
        return self._in_weights(self._xy.f, self._xy.b)

    @property
    def gradient_b(self) -> Any:
        return self._in_weights(self._xy.g, self._xy.a)

    def _in_weights(self, f: Vector, other: Vector) -> Any:
        rho, reg = self._xy.rho, self._xy.reg
        if not math.isinf(rho):
            left = np.expm1(-f / rho)
            f = reg * (float(other.sum()) - 1 - left) - rho * left
        return self._xy.cloud.place.put(f)


def entropic_cost(
    x: Any, y: Any, a: Any, b: Any, *, init: Any = None, on_fail: str = "warn", **options: Any
) -> EntropicCost:
    """The cross term of :func:`sinkhorn_divergence` alone, with its arguments."""
    on_fail = _validate.choice(on_fail, "on_fail", ON_FAIL)
    q = _problem(x, y, a, b, **options)
    xy = _start(init, q).transport("xy", q.cloud, q.a, q.b, q.reg, **q.options)
    result = EntropicCost(xy, q.mass)
    report([xy], "sinkhorn_clouds", on_fail, result)
    return result


def _start(init: Any, q: _Problem) -> WarmStart | Given:
    n, m = q.cloud.shape
    terms = [("f", None, n), ("g", "xy", m), ("f_xx", "xx", n), ("g_yy", "yy", m)]
    return start_of(init, SinkhornDivergence, terms, q.cloud.place)
