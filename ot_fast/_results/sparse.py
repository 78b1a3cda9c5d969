"""The result of a solver whose plan is sparse by construction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._arrays import ReadOnly, lock
from .._geometry import Geometry
from .._problem import Problem
from . import weightless
from .base import Result, Solve
from .plan import linear_operator
from .weightless import ALL, Asked

if TYPE_CHECKING:
    import scipy.sparse as sp
    from matplotlib.figure import Figure

    from .sparsify import Kept

Vector = NDArray[np.float64]
PAIRS = 1 << 20  # costs of pairs computed together
WIDE = 0.01  # gap relative to the value from which the message states it


@dataclass(frozen=True)
class Bound:
    """At most `max_nz` entries in every column (axis 0) or row (axis 1) of the caller's plan."""

    axis: int | None = None
    max_nz: int | None = None


@dataclass
class SparsePlan:
    """Entries by lines, which are rows or columns of the caller's plan."""

    problem: Problem
    begin: NDArray[np.int64]  # of every line, and the end of the last
    index: NDArray[np.int32]
    value: NDArray[Any]
    lines_are_rows: bool

    @classmethod
    def of(cls, problem: Problem, lines: Any, by_rows: bool) -> SparsePlan:
        """From lines of the core, of mass 1; `by_rows` says whether they are its rows."""
        begin, index, value = lines
        value = (value * problem.mass).astype(problem.plan_dtype)
        return cls(problem, begin, index, value, by_rows != problem.transposed)

    def pairs(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Row and column of every entry."""
        lines = np.arange(len(self.begin) - 1, dtype=self.index.dtype)
        line = np.repeat(lines, self.begin[1:] - self.begin[:-1])
        return (line, self.index) if self.lines_are_rows else (self.index, line)

    @cached_property
    def csr(self) -> sp.csr_array:
        import scipy.sparse as sp

        p, entries = self.problem, (self.value, self.index, self.begin)
        kind = sp.csr_array if self.lines_are_rows else sp.csc_array
        return p.lines.expanded_csr(sp.csr_array(kind(entries, shape=p.geometry.shape)))


class SparseResult(Result):
    """A transport plan with few entries, ``min <C,P> + reg/2 |P|^2``.

    All values are recomputed from the plan that is returned. Arrays come back in the library and on
    the device of the costs. Attributes that are NumPy arrays are read-only: edit a copy. A result
    can be pickled and copied, its costs with it. Of costs on a CUDA device a pickle holds host
    arrays, and what comes back computes on the host.

    Attributes
    ----------
    sparse_plan : scipy.sparse.csr_array, shape (n, m)
        The plan. For CUDA costs ``cupyx.scipy.sparse.csr_matrix`` or a sparse CSR tensor of
        PyTorch. :meth:`sparsify` keeps the largest of its entries.
    plan : ndarray, shape (n, m)
        The same, dense, on demand.
    plan_operator : scipy.sparse.linalg.LinearOperator
        ``P @ V`` and ``P.T @ V``.
    f, g : ndarray, shapes (n,) and (m,)
        Dual potentials in cost units; ``potentials`` is the pair. Where the weight is 0, the
        largest values that let no entry into the plan.
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
        ``n_iter, reg, error, dual_value, elapsed`` after every stage: a value of reg, or a proximal
        step.
    method, reg, tol : str, float, float
    a, b : ndarray
        The marginals solved for. ``b_scale`` is the factor that made the sum of b that of a.
    geometry : DenseCost or PointCloud
    """

    def __init__(
        self, plan: SparsePlan, f: Vector, g: Vector, dual: float, solve: Solve, bound: Bound
    ) -> None:
        p = plan.problem
        self._entries, self._core_potentials = plan, (f, g)
        self.axis, self.max_nz = bound.axis, bound.max_nz
        n, m = p.geometry.shape
        i, j = plan.pairs()
        a, b = p.orient(p.a, p.b)
        rows, cols = np.bincount(i, plan.value, n), np.bincount(j, plan.value, m)
        error = max(np.abs(rows - p.mass * a).sum(), np.abs(cols - p.mass * b).sum()) / p.mass
        super().__init__(p, solve, float(error), p.quadratic_history(solve.columns))
        self.cardinality = int(np.bincount(i if bound.axis == 1 else j).max(initial=0))
        self.value_linear, square = _sums(p.geometry, i, j, plan.value)
        self.value = self.value_linear + 0.5 * p.reg * square
        self.dual_value = p.value(dual)
        self.message = self._describe(f"{solve.message}; raise max_nz" if solve.message else "")
        if self.converged and self.gap > WIDE * abs(self.value):
            self.message += f"; the best plan may cost up to {self.gap:.3g} less, see gap"

    @property
    def sparse_plan(self) -> Any:
        return self._put_csr(lock(self._entries.csr))

    @property
    def plan_operator(self) -> Any:
        P = self._entries.csr
        place, shape = self.geometry.place, self.geometry.shape
        return linear_operator(
            place, shape, P.dtype, lambda V, columns: (P.T if columns else P) @ V
        )

    def _sparsified(self, kept: Kept) -> Any:
        from .sparsify import of_entries

        return of_entries(self._entries.csr, kept)

    def _host_potentials(self, asked: Asked = ALL) -> tuple[NDArray[Any], NDArray[Any]]:
        p = self._problem
        return p.rounded(weightless.hard(p, p.potentials(*self._core_potentials), asked))

    @property
    def gap(self) -> float:
        return self.value - self.dual_value

    @ReadOnly
    def plan(self) -> Any:
        n, m = self.geometry.shape
        place, size = self.geometry.place, self._entries.value.itemsize
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
        from .._plot import plot_sparse

        return plot_sparse(self)

    def __repr__(self) -> str:
        n, m = self.geometry.shape
        where = {None: "column", 0: "column", 1: "row"}[self.axis]
        bound = "" if self.max_nz is None else f", at most {self.max_nz} allowed"
        entries = len(self._entries.value)
        lines = [
            f"SparseResult: {n} x {m}, reg = {self.reg:g}, {self.message}",
            f"  value          {self.value:.10g}   <C, P> + reg/2 |P|^2",
            f"  dual_value     {self.dual_value:.10g}   gap {self.gap:.2e}",
            f"  value_linear   {self.value_linear:.10g}   <C, P>",
            f"  entries        {entries}, up to {self.cardinality} a {where}{bound}",
            f"  marginal_error {self.marginal_error:.2e}",
        ]
        return "\n".join(lines)


def _sums(
    geometry: Geometry, i: NDArray[Any], j: NDArray[Any], P: NDArray[Any]
) -> tuple[float, float]:
    """<C,P> and |P|^2 over entries (i, j, P)."""
    costs = geometry.pair_costs()
    linear = square = 0.0
    for k in range(0, len(P), PAIRS):
        part = slice(k, k + PAIRS)
        values = P[part].astype(np.float64)
        linear += float(costs(i[part], j[part]) @ values)
        square += float(values @ values)
    return linear, square
