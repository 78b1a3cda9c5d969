"""The result of a solver whose plan is sparse by construction."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from . import _validate
from ._geometry import DenseCost, PointCloud
from ._result import Problem, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vector = NDArray[np.float64]
PAIRS = 1 << 20  # costs of pairs computed together
LOOSE = 0.01  # gap relative to the value, from which on the message names it


class SparseResult(Result):
    """A transport plan with few entries, ``min <C,P> + reg/2 |P|^2``.

    All values are recomputed from the plan that is returned. Arrays come back in the library and on
    the device of the costs.

    Attributes
    ----------
    sparse_plan : scipy.sparse.csr_array, shape (n, m)
        The plan. For CUDA costs ``cupyx.scipy.sparse.csr_matrix`` or a sparse CSR tensor of
        PyTorch.
    plan : ndarray, shape (n, m)
        The same, dense, on demand.
    f, g : ndarray, shapes (n,) and (m,)
        Dual potentials in cost units; ``potentials`` is the pair.
    value : float
        ``<C,P> + reg/2 |P|^2``.
    value_linear : float
        ``<C,P>``.
    dual_value : float
        The value of the dual at (f, g): no plan of the problem has a lower ``value``.
    gap : float
        ``value - dual_value``. Zero (to `tol`) proves that the plan is optimal. The constraint on
        the number of entries is not convex, so that the best plan may leave a gap.
    marginal_error : float
        ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``.
    max_nz, axis : int or None
        The bound on the entries of a column (axis 0) or row (axis 1); None for ``quadratic``.
    cardinality : int
        The largest number of entries of a column (axis 0 or None) or row of the plan.
    converged, status, message : bool, Status, str
        ``converged`` means ``marginal_error <= tol``.
    n_iter : int
        Passes over C.
    history : dict of ndarray
        ``n_iter, reg, error, dual_value, elapsed`` on the way.
    method, reg, tol : str, float, float
    a, b : ndarray
        The marginals solved for. ``b_scale`` is the factor that made the sum of b that of a.
    geometry : DenseCost or PointCloud
    """

    def __init__(
        self,
        problem: Problem,
        f: Vector,
        g: Vector,
        method: str,
        tol: float,
        by_rows: bool,
        axis: int | None,
        max_nz: int | None,
        outcome: Any,
    ) -> None:
        p = problem
        self._core_potentials = f, g
        self.axis, self.max_nz = axis, max_nz
        n, m = p.geometry.shape
        self._lines_are_rows = by_rows != p.transposed
        begin, idx, val = outcome.plan
        val = (val * p.mass).astype(p.plan_dtype)
        self._entries = val, idx, begin
        line = np.repeat(np.arange(len(begin) - 1, dtype=idx.dtype), begin[1:] - begin[:-1])
        i, j = (line, idx) if self._lines_are_rows else (idx, line)
        a, b = (p.b, p.a) if p.transposed else (p.a, p.b)
        rows, cols = np.bincount(i, val, n), np.bincount(j, val, m)
        error = max(np.abs(rows - p.mass * a).sum(), np.abs(cols - p.mass * b).sum()) / p.mass
        super().__init__(p, method, tol, float(error), outcome)
        self.cardinality = int(np.bincount(i if axis == 1 else j).max(initial=0))
        self.value_linear, square = _sums(p.geometry, i, j, val)
        self.value = self.value_linear + 0.5 * p.reg * square
        self.dual_value = p.cost(outcome.dual_value)
        history = self.history
        history["reg"] = np.ldexp(history["reg"], self.geometry.exponent) / p.mass
        shifted = history["dual_value"] + self.geometry.shift
        with np.errstate(over="ignore"):  # far from the end it may be anything
            history["dual_value"] = np.ldexp(shifted, self.geometry.exponent) * p.mass
        detail = outcome.message
        self.message = self._describe(f"{detail}; raise max_nz" if detail else "")
        if self.converged and self.gap > LOOSE * abs(self.value):
            self.message += f"; the best plan may cost up to {self.gap:.3g} less, see gap"

    @cached_property
    def _host_plan(self) -> sp.csr_array:
        if self._lines_are_rows:
            return sp.csr_array(self._entries, shape=self.geometry.shape)
        return sp.csr_array(sp.csc_array(self._entries, shape=self.geometry.shape))

    @cached_property
    def sparse_plan(self) -> Any:
        P, place = self._host_plan, self.geometry.place
        return place.csr(P.indptr, P.indices, P.data, P.shape) if place.cuda else P

    @cached_property
    def potentials(self) -> tuple[Any, Any]:
        f, g = self._host_potentials()
        return self._put(f), self._put(g)

    def _host_potentials(self) -> tuple[NDArray[Any], NDArray[Any]]:
        p = self._problem
        f, g = (v.copy() for v in self._core_potentials)
        # Where there is no mass: the largest values that let no entry into the plan.
        empty = ~np.isfinite(f)
        if empty.any():
            low = p.core.c_transform(p.geometry.handle, g, p.a, p.where)[0]
            f[empty] = np.where(np.isfinite(low), low, 0.0)[empty]
        empty = ~np.isfinite(g)
        if empty.any():
            low = p.core.column_min(p.geometry.handle, f, np.ones_like(f), p.where)
            g[empty] = np.where(np.isfinite(low), low, 0.0)[empty]
        f += p.geometry.shift
        if p.transposed:
            f, g = g, f
        dtype = np.float32 if p.single else np.float64
        with np.errstate(over="ignore"):
            k = p.geometry.exponent
            return np.ldexp(f, k).astype(dtype), np.ldexp(g, k).astype(dtype)

    @property
    def gap(self) -> float:
        return self.value - self.dual_value

    @cached_property
    def plan(self) -> Any:
        n, m = self.geometry.shape
        place, size = self.geometry.place, self._entries[0].itemsize
        _validate.check_memory(n * m * size, f"a dense plan ({n} x {m})", "use sparse_plan", place)
        return place.dense(self.sparse_plan)

    def plot(self) -> Figure:
        """The plan and the dual value on the way; needs ``ot-fast[plot]``.

        Raises
        ------
        TypeError
            For costs on a CUDA device.
        """
        self._check_plot()
        from ._plot import plot_sparse

        return plot_sparse(self)

    def __repr__(self) -> str:
        n, m = self.geometry.shape
        where = {None: "column", 0: "column", 1: "row"}[self.axis]
        bound = "" if self.max_nz is None else f", at most {self.max_nz} allowed"
        lines = [
            f"SparseResult: {n} x {m}, reg = {self.reg:g}, {self.message}",
            f"  value          {self.value:.10g}   <C, P> + reg/2 |P|^2",
            f"  dual_value     {self.dual_value:.10g}   gap {self.gap:.2e}",
            f"  value_linear   {self.value_linear:.10g}   <C, P>",
            f"  entries        {len(self._entries[0])}, up to {self.cardinality} a {where}{bound}",
            f"  marginal_error {self.marginal_error:.2e}",
        ]
        return "\n".join(lines)


def _sums(
    geometry: DenseCost | PointCloud, i: NDArray[Any], j: NDArray[Any], P: NDArray[Any]
) -> tuple[float, float]:
    """<C,P> and |P|^2 over entries (i, j, P)."""
    costs = _costs(geometry)
    linear = square = 0.0
    for k in range(0, len(P), PAIRS):
        part = slice(k, k + PAIRS)
        values = P[part].astype(np.float64)
        linear += float(costs(i[part], j[part]) @ values)
        square += float(values @ values)
    return linear, square


def _costs(geometry: DenseCost | PointCloud) -> Callable[[NDArray[Any], NDArray[Any]], Vector]:
    """C_ij of pairs (i, j) of host arrays, in float64, on the host."""
    place = geometry.place
    if isinstance(geometry, DenseCost):
        if not place.cuda:
            return lambda i, j: np.asarray(geometry.C[i, j], np.float64)

        def gathered(i: NDArray[Any], j: NDArray[Any]) -> Vector:
            pair = (j, i) if geometry.transposed else (i, j)
            C = geometry.core.cost_of_pairs(geometry.handle, *pair, place.where())
            return np.ldexp(C, geometry.exponent)  # type: ignore[no-any-return]

        return gathered
    x, y = (place.host(points).astype(np.float64) for points in (geometry.x, geometry.y))

    def computed(i: NDArray[Any], j: NDArray[Any]) -> Vector:
        u, v = x[i], y[j]
        if geometry.cost == "cosine":
            norms = np.sqrt((u * u).sum(1)) * np.sqrt((v * v).sum(1))
            return np.asarray(1 - (u * v).sum(1) / norms)
        if geometry.cost == "cityblock":
            return np.asarray(np.abs(u - v).sum(1))
        square = ((u - v) ** 2).sum(1)
        power = {"sqeuclidean": 2.0, "euclidean": 1.0, "power": geometry.p}[geometry.cost]
        return np.asarray(square if power == 2 else square ** (power / 2))

    return computed
