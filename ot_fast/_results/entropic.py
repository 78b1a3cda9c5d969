"""The result of an entropic solve: potentials, and everything that follows from them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._arrays import Cuda, ReadOnly, on_device, to_numpy
from . import certificate, weightless
from .base import Result, Solve
from .plan import Plan
from .weightless import ALL, Asked

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .sparsify import Kept

TINY = float(np.finfo(float).tiny)  # of the mass: the largest entry alone


class OTResult(Result):
    """An entropic transport plan ``P_ij = a_i b_j exp((f_i + g_j - C_ij)/reg)``.

    Cheap fields are filled by the solver. The others are computed on first access, by passes over
    the costs, and kept. They read the caller's cost matrix, which must not have changed since the
    solve: RuntimeError where some of its entries have (on the host). Arrays come back in the
    library and on the device of the costs. Attributes that are NumPy arrays are read-only: edit a
    copy, ``r.plan.copy()``.

    A result can be pickled and copied, its costs with it. Of costs on a CUDA device a pickle holds
    host arrays, and what comes back computes on the host.

    Attributes
    ----------
    f, g : ndarray, shapes (n,) and (m,)
        Potentials in cost units; ``potentials`` is the pair. Where the weight is 0, the soft
        c-transform of the other one, from the costs of these rows and columns.
    plan : ndarray, shape (n, m)
        The plan (n m exponentials, and that much memory).
    sparse_plan : scipy.sparse.csr_array, shape (n, m)
        The plan's largest entries, which together hold ``1 - tol`` of its mass: all that `tol`
        resolves. MemoryError where they do not fit; :meth:`sparsify` keeps fewer.
    plan_operator : scipy.sparse.linalg.LinearOperator
        ``P @ V`` and ``P.T @ V`` without the plan.
    value : float
        ``<C, P> + reg KL(P | a (x) b)`` with ``KL(P|Q) = sum P log(P/Q) - P + Q``.
    value_linear : float
        ``<C, P>``.
    dual_value : float
        ``<a, f> + <b, g> - reg (sum P - sum a (x) b)``.
    lower_bound, upper_bound, gap : float
        Bounds on the unregularised optimal cost, and their difference: the dual value of the
        c-transformed potentials, and the cost of the plan rounded down to its marginals
        (Altschuler, Weed and Rigollet 2017) and completed by a cheap flow. The upper bound is
        finite where a plan exists that avoids forbidden pairs, and exceeds ``value_linear`` by at
        most the mass that is missing times the cost of its paths. Three passes over C each; a
        flow takes more.
    marginal_error : float
        ``max(|P1 - a|_1, |P'1 - b|_1) / sum(a)``, recomputed from this plan.
    converged, status, message : bool, Status, str
    n_iter : int
        Passes over C, or over the stored kernel.
    history : dict of ndarray
        ``n_iter, reg, error, dual_value, elapsed`` after every pass.
    method, reg, tol : str, float, float
    a, b : ndarray
        The marginals solved for. ``b_scale`` is the factor that made the sum of b that of a.
    geometry : DenseCost or PointCloud
    """

    def __init__(self, plan: Plan, solve: Solve) -> None:
        self._plan = plan
        history = plan.problem.entropic_history(solve.columns)
        super().__init__(plan.problem, solve, plan.error, history)
        self.message = self._describe() + (f"; {solve.message}" if solve.message else "")

    def _host_potentials(self, asked: Asked = ALL) -> tuple[NDArray[Any], NDArray[Any]]:
        p = self._problem
        found = p.potentials(*p.unscaled(self._plan.phi, self._plan.psi))
        return p.rounded(weightless.soft(p, found, asked))

    # ------------------------------------------------------------------ values and certificate

    @cached_property
    def value_linear(self) -> float:
        row, _, cost = self._plan.unit
        return self._problem.value(cost, mass=float(row.sum()))

    @cached_property
    def value(self) -> float:
        # sum P (C + reg log(P/(a b))) = sum P (f + g): no logarithm of an entry is needed.
        p, plan = self._problem, self._plan
        row, col, _ = plan.unit
        mass = float(row.sum())
        inner = _inner(row, plan.phi) + _inner(col, plan.psi)
        core = p.value(p.core_reg * (inner + 1 - mass), mass=mass)
        return core + p.reg * p.mass_entropy(mass)

    @cached_property
    def dual_value(self) -> float:
        p, plan = self._problem, self._plan
        inner = _inner(p.a, plan.phi) + _inner(p.b, plan.psi) + 1 - plan.unit[0].sum()
        return p.value(p.core_reg * float(inner)) + p.reg * p.mass_entropy()

    @cached_property
    def lower_bound(self) -> float:
        return certificate.lower_bound(self._plan)

    @cached_property
    def upper_bound(self) -> float:
        return certificate.upper_bound(self._plan)

    @property
    def gap(self) -> float:
        return self.upper_bound - self.lower_bound

    # ------------------------------------------------------------------ the plan

    @ReadOnly
    def plan(self) -> Any:
        return self._plan.dense()

    @property
    def plan_operator(self) -> Any:
        return self._plan.operator()

    @property
    def sparse_plan(self) -> Any:
        return self._put_csr(self._largest)

    @ReadOnly
    def _largest(self) -> Any:
        from .sparsify import Kept, of_plan

        return of_plan(self._plan, Kept.read(mass=max(1 - self.tol, TINY)))

    def _sparsified(self, kept: Kept) -> Any:
        from .sparsify import of_plan

        return of_plan(self._plan, kept)

    def plan_vjp(self, G: Any, tol: float = 1e-10) -> tuple[Any, Any, Any]:
        """Gradients of ``<G, plan>`` in a, b and C: any loss of the plan, one linear solve.

        Parameters
        ----------
        G : array_like, shape (n, m)
            Gradient of the loss in the plan, on the device and in the library of the costs.
        tol : float
            Relative residual of the conjugate gradients.

        Returns
        -------
        tuple of ndarray, shapes (n,), (m,) and (n, m)
            In a, b (meant for changes that keep the sums equal; defined up to a constant; 0 where
            the weight is 0) and C, float64, where the costs are.

        Notes
        -----
        Implicit differentiation of the marginal constraints: the Hessian of the dual, made of the
        plan's entries (on the host, sparse where the plan is), solved by preconditioned CG, O(n m)
        an iteration. Needs the dense plan, as G is dense; beyond it only the result is of its size
        (and float64 copies of a float32 plan or G). The plan should have converged well: the
        gradients are as exact as its marginals.

        Examples
        --------
        >>> import numpy as np, ot_fast as otf
        >>> C = np.random.default_rng(0).random((5, 6))
        >>> r = otf.sinkhorn(None, None, C, reg=0.1)
        >>> da, db, dC = r.plan_vjp(C)  # of <C, P>
        >>> dC.shape, bool(abs(dC.sum()) < 1e-9)
        ((5, 6), True)
        """
        from .._implicit import plan_vjp

        p, place = self._problem, self.geometry.place
        xp = place.namespace()
        G = on_device(G, "G", place) if isinstance(place, Cuda) else to_numpy(G, "G")
        if tuple(G.shape) != self.geometry.shape:
            raise ValueError(f"G must have shape {self.geometry.shape}; got {tuple(G.shape)}")
        tol = _validate.real(tol, "tol", positive=True)
        with place.active():
            G = place.plain(G, np.float64)
            if not bool(xp.isfinite(G).all()):
                raise ValueError("G must be finite")
            lines, turn = p.lines, p.orient_matrix
            # In the order of the core: sums have the same bits for a problem and its transpose.
            plan, G = (place.contiguous(turn(lines.restricted_matrix(v))) for v in (self.plan, G))
            plan = place.plain(plan, np.float64)
            in_rows, in_columns, in_costs = plan_vjp(plan, self.reg, G, tol, xp)
            a, b = p.orient(in_rows, in_columns)
            C = lines.expanded_matrix(turn(in_costs))
            return lines.expanded_rows(a, 0), lines.expanded_rows(b, 1), C

    # ------------------------------------------------------------------ for people

    def plot(self) -> Figure:
        """The plan (or the matching) and the convergence curve; needs ``ot-fast[plot]``.

        Raises
        ------
        TypeError
            For costs on a CUDA device.
        """
        self._check_plot()
        from .._plot import plot_result

        return plot_result(self)

    def __repr__(self) -> str:
        n, m = self.geometry.shape
        lines = [
            f"OTResult: {n} x {m}, reg = {self.reg:g}, {self.message}",
            f"  value_linear   {self.value_linear:.10g}   <C, P>",
            f"  value          {self.value:.10g}   <C, P> + reg KL(P | a (x) b)",
            f"  marginal_error {self.marginal_error:.2e}",
        ]
        bounds = self.__dict__
        if "lower_bound" in bounds and "upper_bound" in bounds:
            lines.append(f"  {self.lower_bound:.10g} <= OT <= {self.upper_bound:.10g}")
        return "\n".join(lines)


def _inner(weight: NDArray[np.float64], potential: NDArray[np.float64]) -> Any:
    """<weight, potential>; a potential may be infinite where the weight is 0."""
    with np.errstate(invalid="ignore"):
        return np.where(weight > 0, weight * potential, 0.0).sum()
