"""The result of exact transport: a plan, potentials that prove it, and bounds."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._arrays import ReadOnly, lock
from .._errors import Status
from .._exact_problem import ExactProblem
from .base import Result, checked_status
from .plan import linear_operator

if TYPE_CHECKING:
    import scipy.sparse as sp
    from matplotlib.figure import Figure

    from .sparsify import Kept

Vector = NDArray[np.float64]
ADVICE = {
    Status.MAX_ITER: "raise max_iter or tol",
    Status.TIME_LIMIT: "raise time_limit or tol",
    Status.STALLED: "progress has stopped; raise tol",
}


class ExactResult(Result):
    """A transport plan of least cost, ``min <C,P>``, and the potentials that prove it.

    Arrays come back in the library and on the device of the costs, in float64. Attributes that are
    NumPy arrays are read-only: edit a copy. A result can be pickled and copied, its costs with it.

    Attributes
    ----------
    value : float
        ``<C,P>`` of the plan; ``upper_bound`` and ``value_linear`` are the same.
    sparse_plan : scipy.sparse.csr_array, shape (n, m)
        The plan: a vertex, with at most ``n + m - 1`` entries. For CUDA costs
        ``cupyx.scipy.sparse.csr_matrix`` or a sparse CSR tensor of PyTorch.
    plan : ndarray, shape (n, m)
        The same, dense, on demand.
    plan_operator : scipy.sparse.linalg.LinearOperator
        ``P @ V`` and ``P.T @ V``.
    f, g : ndarray, shapes (n,) and (m,)
        Dual potentials in cost units; ``potentials`` is the pair. ``f_i + g_j <= C_ij`` for all
        pairs, up to the rounding of its terms, and equal where ``P_ij > 0``; centred; c-transforms
        where there is no mass. The gradients of ``value``: f in a, g in b, the plan in C.
    lower_bound, upper_bound, gap : float
        ``<a,f> + <b,g>`` (``dual_value``), ``<C,P>``, and their difference: no plan costs less than
        the lower bound.
    min_reduced_cost : float
        The least ``C_ij - f_i - g_j`` of all pairs, from a pass over C.
    marginal_error : float
        ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``.
    converged, status, message : bool, Status, str
        ``converged`` means that the pass proved the plan optimal: no reduced cost is negative
        beyond rounding, or the gap is within `tol`.
    n_iter, rounds, arcs : int
        Pivots of the simplex, passes that priced all pairs, pairs that the simplex had in the end.
    history : dict of ndarray
        ``n_iter, reg, error, dual_value, elapsed`` after every round; reg is 0, the error is the
        most negative reduced cost.
    method, reg, tol : str, float, float
    pairs : tuple of ndarray
        Rows and columns of the basis: the pairs of the plan, and those without mass that complete
        it to a tree.
    a, b : ndarray
        The marginals solved for. ``b_scale`` is the factor that made the sum of b that of a.
    geometry : DenseCost or PointCloud; of a sparse matrix an object with its ``shape`` and ``C``
    """

    reg = 0.0
    method = "emd"
    axis = max_nz = None  # no bound on the entries of a line, for plots

    def __init__(
        self, problem: ExactProblem, f: Vector, g: Vector, outcome: Any, tol: float
    ) -> None:
        p = self._exact = problem
        self.geometry: Any = p.geometry
        self.b_scale, self.tol = p.b_scale, tol
        self._duals = p.potentials(f, g)
        rows, columns, flow = outcome.plan
        self.pairs = lock(p.orient(rows, columns))
        self._flow = p.flows(flow)
        self.n_iter, self.rounds, self.arcs = outcome.n_iter, outcome.rounds, outcome.arcs
        self.value = self.value_linear = self.upper_bound = p.value(outcome.value)
        self.lower_bound = self.dual_value = p.value(outcome.dual_value)
        self.min_reduced_cost = math.ldexp(outcome.least, p.geometry.exponent)
        self.converged = bool(outcome.proved)
        self.status = checked_status(outcome.status, self.converged)
        self._records = outcome.history
        self.message = self._describe()

    @cached_property
    def marginal_error(self) -> float:  # type: ignore[override]
        p, (i, j) = self._exact, self.pairs
        error = max(
            np.abs(np.bincount(k, self._flow, len(w)) - w).sum() for k, w in ((i, p.a), (j, p.b))
        )
        return float(error) / p.mass

    @cached_property
    def history(self) -> Any:
        return lock(_history(self._exact, self._records))

    def _describe(self, advice: str = "") -> str:
        work = f"{self.rounds} rounds, {self.arcs} arcs, {self.n_iter} pivots"
        if self.converged:
            return f"emd: optimal, gap {self.gap:.2e}: {work}"
        advice = advice or ADVICE[self.status]
        return f"emd: not proved optimal, gap {self.gap:.2e} ({self.status}): {work}; {advice}"

    @property
    def gap(self) -> float:
        return self.upper_bound - self.lower_bound

    # ------------------------------------------------------------------ marginals and potentials

    @ReadOnly
    def a(self) -> Any:
        return self._put(self._exact.a.copy())

    @ReadOnly
    def b(self) -> Any:
        return self._put(self._exact.b.copy())

    def _host_potentials(self, *_: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        f, g = self._duals
        return f.copy(), g.copy()

    # ------------------------------------------------------------------ the plan

    @cached_property
    def _csr(self) -> sp.csr_array:
        import scipy.sparse as sp

        held = self._flow > 0
        i, j = (k[held] for k in self.pairs)
        return lock(sp.csr_array((self._flow[held], (i, j)), shape=self.geometry.shape))

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_csr"}

    @property
    def sparse_plan(self) -> Any:
        return self._put_csr(self._csr)

    @ReadOnly
    def plan(self) -> Any:
        n, m = self.geometry.shape
        _validate.check_memory(
            8 * n * m, f"a dense plan ({n} x {m})", "use sparse_plan", self._place
        )
        return self._place.dense(self.sparse_plan)

    @property
    def plan_operator(self) -> Any:
        P = self._csr
        return linear_operator(
            self._place,
            self.geometry.shape,
            P.dtype,
            lambda V, columns: (P.T if columns else P) @ V,
        )

    def _sparsified(self, kept: Kept) -> Any:
        from .sparsify import of_entries

        return of_entries(self._csr, kept)

    # ------------------------------------------------------------------ for people

    def plot(self) -> Figure:
        """The plan, and how many entries its columns have; needs ``ot-fast[plot]``.

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
        lines = [
            f"ExactResult: {n} x {m}, {self.message}",
            f"  value            {self.value:.10g}   <C, P>",
            f"  lower_bound      {self.lower_bound:.10g}   gap {self.gap:.2e}",
            f"  entries          {int((self._flow > 0).sum())}",
            f"  min_reduced_cost {self.min_reduced_cost:.2e}",
            f"  marginal_error   {self.marginal_error:.2e}",
        ]
        return "\n".join(lines)


def _history(p: ExactProblem, columns: dict[str, Vector]) -> dict[str, NDArray[Any]]:
    e = p.geometry.exponent
    with np.errstate(over="ignore"):
        return {
            "n_iter": columns["n_iter"].astype(np.int64),
            "reg": columns["reg"],
            "error": np.ldexp(columns["error"], e),
            "dual_value": np.ldexp(columns["dual_value"], e + p.mass_exponent),
            "elapsed": columns["elapsed"],
        }
