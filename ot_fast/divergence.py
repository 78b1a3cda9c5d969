"""The Sinkhorn divergence between weighted clouds."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import ReadOnly
from ._losses import (
    Loss,
    Start,
    Term,
    cloud_of,
    loss_options,
    own_problem,
    problem_of,
    solve_terms,
    total,
)
from ._options import Callback
from ._problem import Problem
from ._results.weightless import ALL, Asked
from ._warm import start_of

Vector = NDArray[np.float64]


class SinkhornDivergence(Loss):
    """A Sinkhorn divergence, with its gradients in positions and weights.

    Attributes that are NumPy arrays are read-only: edit a copy. It can be pickled and copied, its
    points with it; of points on a CUDA device, a pickle holds host arrays.

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
    converged, status, message : bool, Status, str
        ``converged`` means ``marginal_error <= tol``.
    n_iter : int
        Passes over costs, the three terms together.
    reg, tol : float
    """

    _name = "sinkhorn_divergence"

    def __init__(self, terms: dict[str, Term], tol: float, mass: float) -> None:
        super().__init__(terms, tol)
        self._mass = mass
        xy, xx, yy = terms.values()
        p = xy.problem
        value = xy.value - 0.5 * (xx.value + yy.value)
        if not math.isinf(p.rho):
            value += 0.5 * p.reg * float(p.a.sum() - p.b.sum()) ** 2
        self.value = mass * value
        self.transport = mass * xy.value

    @ReadOnly
    def gradient_x(self) -> Any:
        return self._in_points(0, self._terms["xy"].gradient_x, self._terms["xx"].gradient_x)

    @ReadOnly
    def gradient_y(self) -> Any:
        return self._in_points(1, self._terms["xy"].gradient_y, self._terms["yy"].gradient_x)

    def _in_points(self, side: int, cross: Any, own: Any) -> Any:
        # W(x, x)/2 has the same gradient in each of its two arguments.
        points = self._terms["xy"].cloud.points[side]
        return total(points, (self._mass, cross), (-self._mass, own))

    @property
    def gradient(self) -> tuple[Any, Any]:
        return self.gradient_x, self.gradient_y

    @ReadOnly
    def gradient_a(self) -> Any:
        return self._in_weights(0, "xx")

    @ReadOnly
    def gradient_b(self) -> Any:
        return self._in_weights(1, "yy")

    def _in_weights(self, side: int, name: str) -> Any:
        p = self._terms["xy"].problem
        cross, own = self._terms["xy"].potential(side), self._terms[name].potential(0)
        if math.isinf(p.rho):
            out = cross - own
        else:
            out = (p.rho + p.reg) * (np.exp(-own / p.rho) - np.exp(-cross / p.rho))
        return self._place.put(out)

    @ReadOnly
    def potentials(self) -> tuple[Any, Any, Any, Any]:
        f, g, f_xx, g_yy = map(self._place.put, self._host_potentials())
        return f, g, f_xx, g_yy

    def _host_potentials(self, asked: Asked = ALL) -> tuple[Vector, Vector, Vector, Vector]:
        xy, xx, yy = self._terms.values()
        a, b = asked
        return xy.potential(0, a), xy.potential(1, b), xx.potential(1, a), yy.potential(1, b)


def sinkhorn_divergence(
    x: Any,
    y: Any = None,
    a: Any = None,
    b: Any = None,
    *,
    reg: float,
    cost: str | None = None,
    p: float | None = None,
    unbalanced: float | None = None,
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callback | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> SinkhornDivergence:
    """The debiased entropic cost between two weighted clouds, and its gradients.

    ``S = W(x, y) - W(x, x)/2 - W(y, y)/2`` with ``W = min <C,P> + reg KL(P | a (x) b)``: a smooth
    loss between measures, zero where they agree (and, for the squared Euclidean cost, only there).

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points. CUDA arrays (CuPy, PyTorch, JAX) are solved on their device, where the arrays of the
        result live too; a, b and init must live there. `x` may be a :class:`PointCloud`, which
        holds both clouds and the cost: `y`, `cost` and `p` are then left out.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0, uniform by default; those below 1e-18 of their sum count as zero. Balanced,
        their sums must be equal.
    reg : float
        Regularisation > 0 in units of the cost.
    cost : {"sqeuclidean", "euclidean", "cityblock", "cosine", "power"}, optional
    p : float, optional
        As in :class:`PointCloud`; the cost is ``"sqeuclidean"`` by default.
    unbalanced : float, optional
        rho > 0, in units of the cost: marginals are penalised by ``rho KL(P1 | a)`` and ``rho
        KL(P'1 | b)`` instead of fixed, and the masses may differ.
    tol : float, optional
        On the L1 error of the marginals, relative to the mass; 1e-6 by default.
    max_iter : int, optional
        Passes over the costs of one term, >= 1; 100 000 by default.
    init : WarmStart, SinkhornDivergence or tuple (f, g, f_xx, g_yy), optional
        Potentials to start from, in cost units.
    callback : callable, optional
        As in :func:`sinkhorn`; its dict also holds the ``term``: ``"xy"``, ``"xx"`` or ``"yy"``.
    threads : int, optional
        As in :func:`sinkhorn`.
    time_limit : float, optional
        Seconds for the three terms together, checked after every pass.
    on_fail : {"warn", "raise", "ignore"}
        As in :func:`sinkhorn`.

    Returns
    -------
    SinkhornDivergence

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, of wrong value or shape, or on several devices.
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    The terms W(x, x) have one potential each, found by averaging two successive Sinkhorn iterates
    (Feydy et al., Interpolating between optimal transport and MMD, AISTATS 2019). Unbalanced,
    ``reg/2 (sum a - sum b)^2`` is added and every step is damped by ``rho / (rho + reg)`` (Sejourne
    et al., Sinkhorn divergences for unbalanced optimal transport, 2019). Gradients are those of the
    dual at its maximum. A pass costs O(n m d). Memory is O((n + m) d) and a kernel of at most
    64 MiB.

    Balanced, any convention for the entropy gives the same S. Unbalanced, this is the S of
    GeomLoss; OTT-JAX regularises by ``-reg H(P)`` there, which is another problem. GeomLoss with
    p = 2 has the cost |x - y|^2 / 2, ``reg = blur^2`` and ``rho = reach^2``: its value is half of
    this one at twice its reg and rho.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> d = otf.sinkhorn_divergence(x, x + [3, 0], reg=0.1)
    >>> round(d.value, 6), bool(abs(d.gradient_x.sum(0) - [-6, 0]).max() < 1e-4)
    (9.0, True)
    >>> float(otf.sinkhorn_divergence(otf.PointCloud(x, x, "euclidean"), reg=0.1)) < 1e-6
    True
    """
    options = loss_options(
        tol=tol,
        max_iter=max_iter,
        init=init,
        callback=callback,
        threads=threads,
        time_limit=time_limit,
        on_fail=on_fail,
    )
    cloud = cloud_of(x, y, cost, p, ("x", "y"))
    whole = problem_of(cloud, a, b, reg, unbalanced, options)
    xy = replace(whole, mass=1.0)
    problems = {"xy": xy, "xx": own_problem(xy, 0), "yy": own_problem(xy, 1)}
    terms = solve_terms(problems, cloud_start(init, xy), options)
    return options.report(SinkhornDivergence(terms, options.tolerance(xy), whole.mass))


def cloud_start(init: Any, p: Problem) -> Start:
    """How the terms "xy", "xx" and "yy" start."""
    f, g = p.orient(None, "xy")  # that of the core's columns starts the term
    terms = [("f", f, 0), ("g", g, 1), ("f_xx", "xx", 0), ("g_yy", "yy", 1)]
    return start_of(init, SinkhornDivergence, terms, p)
