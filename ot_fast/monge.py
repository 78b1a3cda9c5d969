"""The Monge gap: how far a map is from being optimal for a cost."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import ReadOnly, lasting
from ._costs import Cost
from ._geometry import Points
from ._losses import (
    Loss,
    Term,
    cloud_of,
    loss_options,
    own_problem,
    problem_of,
    solve_terms,
    total,
)
from ._options import Callback
from ._results.weightless import ALL, Asked
from ._warm import start_of


class MongeGap(Loss):
    """The Monge gap of a map on samples, with its gradient.

    Attributes that are NumPy arrays are read-only: edit a copy. It can be pickled and copied, its
    points with it; of points on a CUDA device, a pickle holds host arrays.

    Attributes
    ----------
    value : float
        The gap.
    gradient : ndarray, shape (n, d)
        Its gradient in Tx, in the dtype of the points: one pass over the costs, on first access
        (two with `debias`).
    gradient_x : ndarray, shape (n, d)
        Its gradient in x, at the same price.
    displacement : float
        ``mean_i c(x_i, T x_i)``.
    transport : float
        What is subtracted: ``displacement - value``.
    potentials : tuple of ndarray
        f on x and g on Tx, in cost units: ``init`` of the next call.
    reg : float
        The regularisation used.
    marginal_error : float
        The largest ``|P'1 - b|_1`` of the terms; the other marginal is exact.
    converged, status, message : bool, Status, str
        ``converged`` means ``marginal_error <= tol``.
    n_iter : int
        Passes over the costs, all terms together.
    tol : float
    """

    _name = "monge_gap"

    def __init__(self, terms: dict[str, Term], tol: float) -> None:
        super().__init__(terms, tol)
        main, *own = terms.values()
        if own:
            self.transport = main.value - 0.5 * (own[0].value + own[1].value)
        else:
            self.transport = main.value - 2 * main.problem.reg * math.log(len(main.phi))
        with main.cloud.place.active():
            self.displacement = float(self._matched[0].mean())
        self.value = self.displacement - self.transport

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in lasting(self).items() if k != "_matched"}

    @cached_property
    def _matched(self) -> tuple[Any, Any]:
        """c(x_i, Tx_i), and its gradient in Tx_i."""
        cloud = self._terms["gap"].cloud
        return _matched(*cloud.points, cloud.ground_cost)

    @ReadOnly
    def gradient(self) -> Any:
        main, *own = self._terms.values()
        # W(Tx, Tx)/2 has the same gradient in each of its two arguments.
        pairs = [(-1.0, main.gradient_y), *((1.0, t.gradient_x) for t in own[:1])]
        return total(main.cloud.points[1], (1 / len(main.phi), self._matched[1]), *pairs)

    @ReadOnly
    def gradient_x(self) -> Any:
        main, *own = self._terms.values()
        pull = _matched(*main.cloud.points[::-1], main.cloud.ground_cost)[1]
        pairs = [(-1.0, main.gradient_x), *((1.0, t.gradient_x) for t in own[1:])]
        return total(main.cloud.points[0], (1 / len(main.psi), pull), *pairs)

    @ReadOnly
    def potentials(self) -> tuple[Any, Any]:
        f, g = map(self._place.put, self._host_potentials())
        return f, g

    def _host_potentials(self, _: Asked = ALL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._terms["gap"].potentials  # all points have weight


def _matched(x: Points, y: Points, ground_cost: Cost) -> tuple[Any, Any]:
    """c(x_i, y_i), and its gradient in y_i: float64, where the points live."""
    place = x.place
    with place.active():
        u, v = (place.plain(points.array, np.float64) for points in (x, y))
        return ground_cost.value_and_gradient(u, v, place.namespace())


def monge_gap(
    x: Any,
    Tx: Any = None,
    *,
    reg: float | None = None,
    cost: str | None = None,
    p: float | None = None,
    debias: bool = False,
    tol: float | None = None,
    max_iter: int | None = None,
    init: Any = None,
    callback: Callback | None = None,
    threads: int | None = None,
    time_limit: float | None = None,
    on_fail: str = "warn",
) -> MongeGap:
    """The Monge gap of a map T on samples x, and its gradient in the images Tx.

    ``mean_i c(x_i, T x_i) - W(x, Tx)``: zero exactly where T moves x to Tx at the least cost. A
    regulariser for learning maps: add it to a loss that fits Tx to the target.

    Parameters
    ----------
    x, Tx : array_like, shape (n, d)
        Points and their images. CUDA arrays (CuPy, PyTorch, JAX) are solved on their device, where
        the arrays of the result live too; both must live there. `x` may be a :class:`PointCloud`,
        which holds both clouds and the cost: `Tx`, `cost` and `p` are then left out.
    reg : float, optional
        Regularisation > 0 in units of the cost; by default 0.05 of the mean cost between x and Tx.
        The gradient takes it as a constant.
    cost : {"sqeuclidean", "euclidean", "cityblock", "cosine", "power"}, optional
    p : float, optional
        As in :class:`PointCloud`; the cost is ``"sqeuclidean"`` by default.
    debias : bool
        Take the Sinkhorn divergence ``W(x, Tx) - W(x, x)/2 - W(Tx, Tx)/2`` for W: the entropic
        bias cancels to first order, at the price of two more, easy, solves; it may be below 0.
    tol : float, optional
        On ``|P'1 - b|_1``, 1e-6 by default; 1e-3 is enough to train with.
    max_iter : int, optional
        Passes over the costs of one term, >= 1; 100 000 by default.
    init : WarmStart, MongeGap or tuple (f, g), optional
        Potentials to start from, in cost units.
    callback : callable, optional
        As in :func:`sinkhorn`; its dict also holds the ``term``: ``"gap"``, and with `debias` also
        ``"gap Tx"`` and ``"gap x"``.
    threads : int, optional
        As in :func:`sinkhorn`.
    time_limit : float, optional
        Seconds for all terms together, checked after every pass.
    on_fail : {"warn", "raise", "ignore"}
        As in :func:`sinkhorn`.

    Returns
    -------
    MongeGap

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, of wrong value or shape, or on several devices.
    ConvergenceError
        With ``on_fail="raise"``.

    Notes
    -----
    Without `debias`, W is ``min <C,P> - reg H(P)`` with ``H(P) = -sum P log P``, as in the paper
    and in OTT-JAX (``ent_reg_cost``), so that the gap is never negative: it is at least
    ``reg log n``. The ``value`` of :func:`sinkhorn` has ``+ reg KL(P | a (x) b)`` instead, which is
    ``reg (H(a) + H(b)) = 2 reg log n`` more.

    The gradient in ``y_i = T x_i`` is that of the envelope theorem,
    ``dc(x_i, y_i)/dy_i / n - sum_k P_ki dc(x_k, y_i)/dy_i``: one pass over the costs, and none
    through the solver. A pass costs O(n^2 d). Memory is O(n d) and a kernel of at most 64 MiB.
    Uscidda and Cuturi, The Monge gap (ICML 2023), equation (8).

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(200, 2))
    >>> optimal = otf.monge_gap(x, 3 * x + 1, reg=0.01)  # the gradient of a convex function
    >>> shuffled = otf.monge_gap(x, (3 * x + 1)[::-1], reg=0.01)
    >>> optimal.value < 0.1, shuffled.value > 1, shuffled.gradient.shape
    (True, True, (200, 2))
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
    if not isinstance(debias, bool | np.bool_):
        raise TypeError(f"debias must be True or False; got {type(debias).__name__}")
    cloud = cloud_of(x, Tx, cost, p, ("x", "Tx"))
    n, m = cloud.shape
    if n != m:
        raise ValueError(f"x and Tx must have as many points; got {n} and {m}")
    # Rows are the images: their gradient needs P with exact rows, and sums over columns.
    main = problem_of(cloud.turned, None, None, 1.0 if reg is None else reg, None, options)
    if reg is None:
        mean = float(main.a @ main.cost_apply(main.b))
        main = replace(main, reg=0.05 * main.value(mean) or 1.0)
    problems = {"gap": main}
    if debias:
        problems |= {"gap Tx": own_problem(main, 1), "gap x": own_problem(main, 0)}
    potentials = [("f", "gap", 0), ("g", None, 1)]
    start = start_of(init, MongeGap, potentials, main)
    terms = solve_terms(problems, start, options)
    return options.report(MongeGap(terms, options.tolerance(main)))
