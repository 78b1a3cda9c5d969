"""What all results share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import Place, ReadOnly, lasting, lock
from .._errors import Status
from .._problem import History, Problem
from .weightless import ALL, Asked

if TYPE_CHECKING:
    from .sparsify import Kept

Vector = NDArray[np.float64]

ADVICE = {
    Status.MAX_ITER: "raise max_iter, tol or reg",
    Status.TIME_LIMIT: "raise time_limit, tol or reg",
    Status.STALLED: "progress has stopped; raise tol or reg",
    Status.UNRESOLVED: "float64 resolves no plan at the reg asked for; raise reg",
}


def checked_status(status: str, exact: bool) -> Status:
    """The status of a solver, where the error of what is returned decides on convergence."""
    found = Status(status)
    if found is Status.UNRESOLVED:
        return found
    if exact:
        return Status.CONVERGED
    return Status.STALLED if found is Status.CONVERGED else found


def describe(text: str, tol: float, status: Status, reg: float, advice: str = "") -> str:
    """What was reached, and what to try where it is not enough."""
    if status is Status.CONVERGED:
        return f"{text} (tol {tol:g})"
    if status is Status.UNRESOLVED:
        return f"{text} at reg = {reg:g} ({status}): {ADVICE[status]}"
    return f"{text}, above tol {tol:g} ({status}): {advice or ADVICE[status]}"


@dataclass(frozen=True)
class Solve:
    """How a solve ended: what a solver returns besides the potentials and the plan."""

    method: str
    tol: float
    status: str
    n_iter: int
    columns: dict[str, Vector]  # the history, in the core's units
    message: str = ""

    @classmethod
    def of(cls, method: str, tol: float, outcome: Any) -> Solve:
        """From what a solver of the core returned."""
        return cls(method, tol, outcome.status, outcome.n_iter, outcome.history, outcome.message)


class Result:
    """The problem, whether it was solved, marginals and potentials.

    A result can be pickled and copied, its costs with it; of costs on a CUDA device a pickle holds
    host arrays. Arrays that follow from the others are left out; they are computed again on access.
    """

    message: str

    def __init__(self, problem: Problem, solve: Solve, error: float, history: History) -> None:
        self._problem = problem
        self.geometry = problem.lines.geometry
        self.reg, self.b_scale = problem.reg, problem.b_scale
        self.method, self.tol, self.n_iter = solve.method, solve.tol, solve.n_iter
        self.history = lock(history)
        self.marginal_error = error if math.isfinite(error) else math.inf
        self.status = checked_status(solve.status, self.marginal_error <= self.tol)
        self.converged = self.status is Status.CONVERGED

    def __getstate__(self) -> dict[str, Any]:
        return lasting(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        lock(self.history)  # NumPy's pickles and copies are writable

    @property
    def _place(self) -> Place:
        return self.geometry.place

    # ------------------------------------------------------------------ marginals and potentials

    @ReadOnly
    def a(self) -> Any:
        return self._put(self._problem.weight(0) * self._problem.mass)

    @ReadOnly
    def b(self) -> Any:
        return self._put(self._problem.weight(1) * self._problem.mass)

    def _host_potentials(self, asked: Asked = ALL) -> tuple[NDArray[Any], NDArray[Any]]:
        """(f, g) on the host, in the dtype of the costs; with weights `asked`, potentials may be 0
        where neither these nor those of the problem are positive.
        """
        raise NotImplementedError

    @ReadOnly
    def potentials(self) -> tuple[Any, Any]:
        f, g = self._host_potentials()
        return self._put(f), self._put(g)

    @property
    def f(self) -> Any:
        return self.potentials[0]

    @property
    def g(self) -> Any:
        return self.potentials[1]

    def _put(self, array: NDArray[Any]) -> Any:
        """To the caller's library and device."""
        return self._place.put(array)

    # ------------------------------------------------------------------ the plan

    def sparsify(
        self,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        mass: float | None = None,
    ) -> Any:
        """The plan's largest entries as a CSR matrix; give exactly one rule.

        Parameters
        ----------
        threshold : float, optional
            Keep ``P_ij >= threshold``.
        top_k : int, optional
            Keep the ``top_k`` largest entries of every row.
        mass : float, optional
            Keep the largest entries of the plan that together hold this fraction of its mass.

        Returns
        -------
        scipy.sparse.csr_array, shape (n, m)
            For CUDA costs ``cupyx.scipy.sparse.csr_matrix`` or a sparse CSR tensor of PyTorch.

        Raises
        ------
        TypeError, ValueError
            Where not exactly one rule is given, or it is out of range.
        MemoryError
            Where the entries kept do not fit.

        Notes
        -----
        An entropic plan is read by blocks of rows: one pass (``mass``: three), memory for what is
        kept.

        Examples
        --------
        >>> import numpy as np, ot_fast as otf
        >>> C = np.random.default_rng(0).random((50, 60))
        >>> r = otf.sinkhorn(None, None, C, reg=0.01)
        >>> r.sparsify(top_k=2).nnz
        100
        """
        from .sparsify import Kept  # imports SciPy

        kept = Kept.read(threshold=threshold, top_k=top_k, mass=mass)
        return self._put_csr(self._sparsified(kept))

    def _sparsified(self, kept: Kept) -> Any:
        """`sparsify`, on the host."""
        raise NotImplementedError

    def _put_csr(self, P: Any) -> Any:
        """A sparse matrix of the caller's library, which on the host has the arrays of P."""
        return self._place.csr(P.indptr, P.indices, P.data, P.shape)

    # ------------------------------------------------------------------ for people

    def _check_plot(self) -> None:
        """TypeError where there is nothing on the host to draw from."""
        if self.geometry.place.cuda:
            raise TypeError(f"plot draws from host memory; the costs live in {self.geometry.place}")

    def _describe(self, advice: str = "") -> str:
        """How the solve ended, and what to try where it did not converge."""
        text = f"{self.method}: error {self.marginal_error:.2e} after {self.n_iter} passes"
        if not advice and self.status is Status.STALLED and self._problem.single:
            advice = f"{ADVICE[self.status]}, or pass float64 costs"
        return describe(text, self.tol, self.status, self.reg, advice)
