"""The Monge gap: how far a map is from being optimal for a cost."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._costs import cost_of
from ._geometry import PointCloud
from ._transport import (
    ON_FAIL,
    Transport,
    clouds_of,
    options_of,
    paired,
    report,
    start_of,
    total,
)


class MongeGap:
    """The Monge gap of a map on samples, with its gradient.

    Attributes
    ----------
    value : float
        The gap.
    gradient : ndarray, shape (n, d)
        Its gradient in Tx, in the dtype of the points; one pass over the costs, on first access.
    gradient_x : ndarray, shape (n, d)
        Its gradient in x, likewise.
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
    converged : bool
    n_iter : int
        Passes over the costs, all terms together.
    """

    def __init__(
        self, terms: list[Transport], displacement: float, pull: Any, debias: bool
    ) -> None:
        self._terms, self._pull = terms, pull
        main = terms[0]
        n = len(main.phi)
        self.displacement = displacement
        self.reg = main.reg
        if debias:
            self.transport = main.value - 0.5 * (terms[1].value + terms[2].value)
        else:
            self.transport = main.value - 2 * main.reg * math.log(n)
        self.value = displacement - self.transport
        self.marginal_error = max(t.error for t in terms)
        self.converged = all(t.error <= t.tol for t in terms)
        self.n_iter = sum(t.n_iter for t in terms)

    @property
    def gradient(self) -> Any:
        main, *own = self._terms
        # Both sides of half W(Tx, Tx) pull alike: together they are one side of the whole.
        pairs = [(-1.0, main.gradient_x), *((1.0, t.gradient_x) for t in own[:1])]
        return total(main.cloud.points[0], (1 / len(main.phi), self._pull), *pairs)

    @property
    def gradient_x(self) -> Any:
        main, *own = self._terms
        y, x = main.cloud.points
        pull = paired(y, x, main.cloud.law)[1]
        pairs = [(-1.0, main.gradient_y), *((1.0, t.gradient_x) for t in own[1:])]
        return total(x, (1 / len(main.psi), pull), *pairs)

    @property
    def potentials(self) -> tuple[Any, Any]:
        put = self._terms[0].cloud.place.put
        f, g = self._host_potentials()
        return put(f), put(g)

    def _host_potentials(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._terms[0].g, self._terms[0].f

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return (
            f"MongeGap({self.value:.10g}, reg={self.reg:g}, marginal_error="
            f"{self.marginal_error:.1e}, n_iter={self.n_iter})"
        )


def monge_gap(
    x: Any,
    Tx: Any,
    *,
    cost: str = "sqeuclidean",
    p: float | None = None,
    reg: float | None = None,
    debias: bool = False,
    init: Any = None,
    tol: float | None = None,
    max_iter: int | None = None,
    threads: int | None = None,
    on_fail: str = "warn",
) -> MongeGap:
    """The Monge gap of a map T on samples x, and its gradient in the images Tx.

    ``mean_i c(x_i, T x_i) - W(x, Tx)``: zero exactly where T moves x to Tx at the least cost. A
    regulariser for learning maps: add it to a loss that fits Tx to the target.

    Parameters
    ----------
    x, Tx : array_like, shape (n, d)
        Points and their images. CUDA arrays (CuPy, PyTorch, JAX) are solved on their device, where
        the arrays of the result live too; both must live there.
    cost : {"sqeuclidean", "euclidean", "cityblock", "cosine", "power"}
    p : float, optional
        As in :class:`PointCloud`.
    reg : float, optional
        Regularisation > 0 in units of the cost; by default 0.05 of the mean cost between x and Tx.
        The gradient takes it as a constant.
    debias : bool
        Take the Sinkhorn divergence ``W(x, Tx) - W(x, x)/2 - W(Tx, Tx)/2`` for W: the entropic
        bias cancels to first order, at the price of two more, easy, solves; it may be below 0.
    init : WarmStart, MongeGap or tuple (f, g), optional
        Potentials to start from.
    tol : float, optional
        On ``|P'1 - b|_1``, 1e-6 by default; 1e-3 is enough to train with.
    max_iter : int, optional
        Passes over the costs, 100 000 by default.
    threads, on_fail
        As in :func:`sinkhorn`.

    Returns
    -------
    MongeGap

    Raises
    ------
    TypeError, ValueError
        For arguments that are not real numbers, of wrong value or shape, or of several devices.
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
    through the solver. Memory O(n d) beyond a kernel of at most 64 MiB that is kept where it fits.
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
    law = cost_of(cost, p)
    xs, ys = clouds_of(x, Tx, ("x", "Tx"))
    n = len(xs.array)
    if len(ys.array) != n:
        raise ValueError(f"x and Tx must have as many points; got {n} and {len(ys.array)}")
    on_fail = _validate.choice(on_fail, "on_fail", ON_FAIL)
    options = options_of(tol, max_iter, threads, xs)
    # Rows are the images: their gradient needs P with exact rows, and sums over columns.
    cloud = PointCloud.of(ys, xs, law)
    w = np.full(n, 1.0 / n)
    if reg is None:
        where = cloud.place.where(options["threads"])
        mean = float(w @ cloud.core.cost_apply(cloud.handle, w, where))
        reg = 0.05 * math.ldexp(mean, cloud.exponent) or 1.0
    else:
        reg = _validate.real(reg, "reg", positive=True)
    start = start_of(init, MongeGap, [("f", "gap", n), ("g", None, n)], cloud.place)
    terms = [start.transport("gap", cloud, w, w, reg, **options)]
    if debias:
        for label, v in (("gap Tx", ys), ("gap x", xs)):
            own = PointCloud.of(v, v, law)
            terms.append(start.transport(label, own, w, w, reg, symmetric=True, **options))
    with cloud.place.active():
        moved, pull = paired(xs, ys, law)
        displacement = float(moved.mean())
    gap = MongeGap(terms, displacement, pull, debias)
    report(terms, "monge_gap", on_fail, gap)
    return gap
