"""The result of a solve: potentials, and everything that follows from them, computed on demand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from . import _validate
from ._arrays import Cuda, on_device, to_numpy
from ._errors import Status
from ._geometry import DenseCost, PointCloud

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Vector = NDArray[np.float64]
BLOCK = 1 << 22  # plan entries looked at together


@dataclass
class Problem:
    """A validated, normalised problem as the core sees it.

    Weights sum to 1, costs are C - shift in units of 2^exponent, and column-major costs are the
    transposed problem: ``a``, ``b``, ``phi``, ``psi`` here are the core's rows and columns.
    """

    geometry: DenseCost | PointCloud
    a: Vector
    b: Vector
    mass: float
    b_scale: float
    reg: float  # as the caller gave it
    single: bool  # the caller's costs are float32
    threads: int

    @property
    def transposed(self) -> bool:
        return self.geometry.transposed

    @property
    def plan_dtype(self) -> Any:
        """float32 for float32 costs, where that holds entries of plans of this mass."""
        return np.float32 if self.single and 1e-18 < self.mass < 1e30 else np.float64

    @property
    def core(self) -> Any:
        """The core that reads the costs where they live."""
        return self.geometry.core

    @property
    def handle(self) -> Any:
        """The problem as the core's solvers take it."""
        g = self.geometry
        return self.core.Problem(g.handle, self.a, self.b, self.core_reg, g.scale)

    @property
    def where(self) -> Any:
        """What that core is told of a call: threads, or a stream."""
        return self.geometry.place.where(self.threads)

    @property
    def core_reg(self) -> float:
        # Beyond 1e300 costs are constant to the last digit, whatever reg is.
        with np.errstate(over="ignore"):
            return float(min(np.ldexp(self.reg, -self.geometry.exponent), 1e300))

    def cost(self, value: float) -> float:
        """A transport cost of the core's unit-mass problem, in the caller's units."""
        with np.errstate(over="ignore"):  # of potentials far from any solution, perhaps
            return float(np.ldexp(value + self.geometry.shift, self.geometry.exponent) * self.mass)

    def log_b(self) -> Vector:
        with np.errstate(divide="ignore"):
            return np.log(self.b)


@dataclass
class Plan:
    """P_ij = a_i exp(phi_i + h_j - (C_ij - shift)/reg) in the core's orientation, never stored."""

    problem: Problem
    phi: Vector
    psi: Vector
    h: Vector = field(init=False)

    def __post_init__(self) -> None:
        self.h = self.psi + self.problem.log_b()
        self.a = self.problem.a * self.problem.mass
        self.shape: tuple[int, int] = (len(self.phi), len(self.psi))

    def marginals(
        self, row: Vector | None = None, col: Vector | None = None, f64: bool = True
    ) -> tuple[Vector, Vector, float]:
        """Marginals and <C - shift, P> of diag(row) P diag(col) at unit mass: one pass."""
        p = self.problem
        with np.errstate(divide="ignore"):
            phi = self.phi if row is None else np.maximum(self.phi + np.log(row), -1e300)
            h = self.h if col is None else self.h + np.log(col)
        plan = p.core.Plan(p.geometry.handle, p.a, p.core_reg, phi, h)
        s, c, cost = p.core.marginals(plan, f64 or not p.single, p.where)
        return p.a * s, c, float(p.a @ cost)

    @property
    def handle(self) -> Any:
        """The plan as the core's passes take it, of the caller's mass."""
        p = self.problem
        return p.core.Plan(p.geometry.handle, self.a, p.core_reg, self.phi, self.h)

    def rows(self, first: int, last: int) -> Any:
        """P[first:last], where the costs live."""
        p = self.problem
        out = p.geometry.place.empty((last - first, self.shape[1]), p.plan_dtype)
        p.core.plan_rows(self.handle, first, last, out, p.where)
        return p.geometry.place.finished(out)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """The plan by blocks of rows, on the host."""
        n, m = self.shape
        step = max(1, BLOCK // m)
        for i in range(0, n, step):
            yield i, self.problem.geometry.place.host(self.rows(i, min(n, i + step)))

    def apply(self, V: NDArray[Any], columns: bool) -> Vector:
        """P V, or P'V with columns, for V of shape (size, k)."""
        p = self.problem
        W = np.ascontiguousarray(np.asarray(V, np.float64).T)
        return p.core.apply_plan(self.handle, W, columns, p.where).T  # type: ignore[no-any-return]


class Result:
    """What all results share: the problem, whether it was solved, marginals and potentials."""

    potentials: Any  # (f, g) in cost units

    def __init__(
        self, problem: Problem, method: str, tol: float, error: float, outcome: Any
    ) -> None:
        self._problem = problem
        self.geometry = problem.geometry
        self.method, self.tol, self.reg = method, tol, problem.reg
        self.b_scale = problem.b_scale
        self.n_iter: int = outcome.n_iter
        self.marginal_error = error if math.isfinite(error) else math.inf
        self.converged = self.marginal_error <= tol
        status = Status.CONVERGED if self.converged else Status(outcome.status)
        if status is Status.CONVERGED and not self.converged:
            status = Status.STALLED
        self.status = status
        self.history: dict[str, NDArray[Any]] = outcome.history
        self.history["n_iter"] = self.history["n_iter"].astype(np.int64)

    def _check_plot(self) -> None:
        """TypeError where there is nothing on the host to draw from."""
        if self.geometry.place.cuda:
            raise TypeError(f"plot draws from host memory; the costs live in {self.geometry.place}")

    def _describe(self, advice: str = "") -> str:
        text = f"{self.method}: error {self.marginal_error:.2e} after {self.n_iter} passes"
        if self.converged:
            return f"{text} (tol {self.tol:g})"
        advice = (
            advice
            or {
                Status.MAX_ITER: "raise max_iter, tol or reg",
                Status.TIME_LIMIT: "raise time_limit, tol or reg",
                Status.STALLED: "progress has stopped; raise tol or reg"
                + (", or pass float64 costs" if self._problem.single else ""),
            }[self.status]
        )
        return f"{text}, above tol {self.tol:g} ({self.status}): {advice}"

    def _put(self, array: NDArray[Any]) -> Any:
        """To the caller's library and device."""
        return self.geometry.place.put(array)

    @cached_property
    def a(self) -> Any:
        p = self._problem
        return self._put((p.b if p.transposed else p.a) * p.mass)

    @cached_property
    def b(self) -> Any:
        p = self._problem
        return self._put((p.a if p.transposed else p.b) * p.mass)

    @property
    def f(self) -> Any:
        return self.potentials[0]

    @property
    def g(self) -> Any:
        return self.potentials[1]


class OTResult(Result):
    """An entropic transport plan ``P_ij = a_i b_j exp((f_i + g_j - C_ij)/reg)``.

    Cheap fields are filled by the solver. The others are computed on first access, by passes that
    stream over the costs, and kept. They read the caller's cost matrix, which must not have
    changed in the meantime. Arrays come back in the library and on the device of the costs.

    Attributes
    ----------
    f, g : ndarray, shapes (n,) and (m,)
        Potentials in cost units; ``potentials`` is the pair.
    plan : ndarray, shape (n, m)
        The plan (n m exponentials, and that much memory).
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
        c-transformed potentials, and the cost of the plan rounded to exact marginals (Altschuler,
        Weed and Rigollet 2017). Three passes over C each.
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

    def __init__(
        self,
        plan: Plan,
        method: str,
        tol: float,
        outcome: Any,
    ) -> None:
        problem = plan.problem
        self._plan = plan
        row, col, cost = plan.marginals(f64=False)
        self._row, self._col, self._cost = row, col, cost
        error = max(np.abs(row - problem.a).sum(), np.abs(col - problem.b).sum())
        super().__init__(problem, method, tol, float(error), outcome)
        scale = problem.mass
        history = self.history
        for key in ("reg", "dual_value"):
            history[key] = np.ldexp(history[key], self.geometry.exponent)
        with np.errstate(over="ignore"):
            history["dual_value"] = (
                history["dual_value"] + math.ldexp(self.geometry.shift, self.geometry.exponent)
            ) * scale + history["reg"] * self._mass_terms
        detail = outcome.message
        self.message = self._describe() + (f"; {detail}" if detail else "")

    # ------------------------------------------------------------------ what the solver filled

    @property
    def _mass_terms(self) -> float:
        """KL(P | a (x) b) / reg of a plan of mass M, less that of the unit-mass problem times M."""
        M = self._problem.mass
        return M * (M - 1 - math.log(M)) if M != 1 else 0.0

    @cached_property
    def potentials(self) -> tuple[Any, Any]:
        f, g = self._host_potentials()
        return self._put(f), self._put(g)

    def _host_potentials(self) -> tuple[NDArray[Any], NDArray[Any]]:
        p = self._problem
        k = self.geometry.exponent
        f = p.core_reg * (self._plan.phi - math.log(p.mass)) + self.geometry.shift
        g = p.core_reg * self._plan.psi
        if p.transposed:
            f, g = g, f
        dtype = np.float32 if p.single else np.float64
        with np.errstate(over="ignore"):
            return np.ldexp(f, k).astype(dtype), np.ldexp(g, k).astype(dtype)

    # ------------------------------------------------------------------ values and certificate

    @cached_property
    def value_linear(self) -> float:
        p = self._problem
        shift = self.geometry.shift * float(self._row.sum())
        return math.ldexp(self._cost + shift, self.geometry.exponent) * p.mass

    def _inner_potentials(self) -> float:
        """<row, phi> + <col, psi> over the plan's own marginals."""
        plan = self._plan
        with np.errstate(invalid="ignore"):
            f = np.where(self._row > 0, self._row * plan.phi, 0.0).sum()
            g = np.where(self._col > 0, self._col * plan.psi, 0.0).sum()
        return float(f + g)

    @cached_property
    def value(self) -> float:
        # sum P (C + reg log(P/(a b))) = sum P (f + g): no logarithm of an entry is needed.
        p = self._problem
        mass = float(self._row.sum())
        inner = p.core_reg * (self._inner_potentials() + 1 - mass) + self.geometry.shift * mass
        return math.ldexp(inner, self.geometry.exponent) * p.mass + p.reg * self._mass_terms

    @cached_property
    def dual_value(self) -> float:
        p, plan = self._problem, self._plan
        inner = float(
            np.where(p.a > 0, p.a * plan.phi, 0.0).sum()
            + np.where(p.b > 0, p.b * plan.psi, 0.0).sum()
            + 1
            - self._row.sum()
        )
        return p.cost(p.core_reg * inner) + p.reg * self._mass_terms

    @cached_property
    def lower_bound(self) -> float:
        p, geometry = self._problem, self.geometry
        # Zero weights take no part: +inf never wins a minimum, and 0 * inf is 0.
        f = np.where(p.a > 0, p.core_reg * self._plan.phi, -np.inf)
        g = np.where(p.b > 0, p.core_reg * self._plan.psi, -np.inf)
        pairs = [p.core.c_transform(geometry.handle, g, p.a, p.where)]
        low = p.core.column_min(geometry.handle, f, p.a, p.where)
        low = np.where((p.b > 0) & np.isfinite(low), low, -np.inf)
        pairs.append(p.core.c_transform(geometry.handle, low, p.a, p.where))
        with np.errstate(invalid="ignore"):
            inner = [
                np.where(p.a > 0, p.a * u, 0.0).sum() + np.where(p.b > 0, p.b * v, 0.0).sum()
                for u, v in pairs
            ]
        best = max((float(v) for v in inner if math.isfinite(v)), default=-math.inf)
        if best < 0 or not math.isfinite(best):  # the least cost is a bound too
            least = p.core.column_min(geometry.handle, np.zeros(len(p.a)), p.a, p.where)
            best = max(best, float(least[p.b > 0].min()))
        return p.cost(best)

    @cached_property
    def upper_bound(self) -> float:
        p = self._problem
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            x = np.where(self._row > p.a, p.a / self._row, 1.0)
            col = self._plan.marginals(x)[1]
            y = np.where(col > p.b, p.b / col, 1.0)
        row, col, cost = self._plan.marginals(x, y)
        lack_a, lack_b = np.maximum(p.a - row, 0.0), np.maximum(p.b - col, 0.0)
        lack = float(lack_a.sum())
        if lack > 0 and lack_b.sum() > 0:
            lack_b /= lack_b.sum()
            spread = p.core.cost_apply(p.geometry.handle, lack_b, p.where)
            with np.errstate(invalid="ignore"):
                cost += float(np.where(lack_a > 0, lack_a * spread, 0.0).sum())
        return p.cost(cost) if math.isfinite(cost) else math.inf

    @property
    def gap(self) -> float:
        return self.upper_bound - self.lower_bound

    # ------------------------------------------------------------------ the plan

    @cached_property
    def plan(self) -> Any:
        n, m = self._plan.shape
        size = np.dtype(self._problem.plan_dtype).itemsize
        _validate.check_memory(
            n * m * size,
            f"a dense plan ({n} x {m})",
            "use sparse_plan(...) or plan_operator",
            self.geometry.place,
        )
        P = self._plan.rows(0, n)
        return P.T if self._problem.transposed else P

    @property
    def plan_operator(self) -> Any:
        plan, flip = self._plan, self._problem.transposed
        place = self.geometry.place
        n, m = plan.shape[::-1] if flip else plan.shape
        dtype = np.dtype(self._problem.plan_dtype)

        def product(columns: bool) -> Any:
            def matmat(V: NDArray[Any]) -> Vector:
                V = to_numpy(V, "V", place)
                out = plan.apply(V.reshape(len(V), -1), columns)
                out = out.reshape(len(out), *V.shape[1:]).astype(dtype, copy=False)
                return place.put(out)  # type: ignore[no-any-return]

            return matmat

        forward, backward = product(flip), product(not flip)
        return place.linear_operator()(
            (n, m), matvec=forward, rmatvec=backward, matmat=forward, rmatmat=backward, dtype=dtype
        )

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
        from ._implicit import plan_vjp

        place = self.geometry.place
        xp = place.namespace()
        G = on_device(G, "G", place) if isinstance(place, Cuda) else to_numpy(G, "G")
        if tuple(G.shape) != self.geometry.shape:
            raise ValueError(f"G must have shape {self.geometry.shape}; got {tuple(G.shape)}")
        tol = _validate.real(tol, "tol", positive=True)
        with place.active():
            G = place.plain(G, np.float64)
            if not bool(xp.isfinite(G).all()):
                raise ValueError("G must be finite")
            return plan_vjp(place.plain(self.plan, np.float64), self.reg, G, tol, xp)

    def sparse_plan(
        self,
        *,
        threshold: float | None = None,
        top_k: int | None = None,
        mass: float | None = None,
    ) -> sp.csr_array:
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

        Notes
        -----
        Streams over blocks of rows: one pass (``mass``: three), memory for what is kept.
        """
        given = [
            k
            for k, v in (("threshold", threshold), ("top_k", top_k), ("mass", mass))
            if v is not None
        ]
        if len(given) != 1:
            raise ValueError(
                f"sparse_plan needs exactly one of threshold, top_k, mass; got {given or 'none'}"
            )
        flip = self._problem.transposed
        if top_k is not None:
            k = _validate.integer(top_k, "top_k", least=1)
            P = self._largest_of_columns(k) if flip else self._largest_of_rows(k)
            return self.geometry.place.csr(P.indptr, P.indices, P.data, P.shape)
        if threshold is None:
            fraction = _validate.real(mass, "mass", positive=True)
            if fraction > 1:
                raise ValueError(f"mass must be a fraction in (0, 1]; got {mass}")
            if self.geometry.place.cuda:
                return self._extracted(
                    self._problem.mass * (1 - fraction) / math.prod(self._plan.shape), fraction
                )
            cut = self._cut(fraction)
        else:
            cut = _validate.real(threshold, "threshold", positive=False)
            if self.geometry.place.cuda:
                return self._extracted(np.nextafter(cut, 0), None)
        P = self._collect(
            (i, r, c, B[r, c])
            for i, B in self._plan.blocks()
            for r, c in [np.nonzero((cut <= B) & (B > 0))]
        )
        return sp.csr_array(P.T) if flip else P

    def _extracted(self, threshold: float, fraction: float | None) -> Any:
        """Entries above a threshold, gathered on the device; the largest of them that hold a
        fraction of the mass."""
        p, plan = self._problem, self._plan
        n, m = plan.shape
        begin, column, value = p.core.entries(plan.handle, threshold, p.where)
        if fraction is not None:  # what lies below the threshold holds less than the rest
            order = np.argsort(-value, kind="stable")
            held = np.cumsum(value[order])
            target = fraction * float(self._row.sum()) * p.mass * (1 - 1e-12)
            keep = np.zeros(len(value), bool)
            keep[order[: int(np.searchsorted(held, target)) + 1]] = True
            row = np.repeat(np.arange(n), np.diff(begin))[keep]
            column, value = column[keep], value[keep]
            begin = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
        P = sp.csr_array((value.astype(p.plan_dtype), column, begin), shape=(n, m))
        if p.transposed:
            P = sp.csr_array(P.T)
        return self.geometry.place.csr(P.indptr, P.indices, P.data, P.shape)

    def _collect(self, parts: Any) -> sp.csr_array:
        rows, cols, vals = [], [], []
        kept = 0
        for i, r, c, v in parts:
            kept += len(v)
            _validate.check_memory(
                4 * 24 * len(v), f"a sparse plan of {kept} entries", "keep fewer"
            )
            rows.append(r + i)
            cols.append(c)
            vals.append(v)
        _validate.check_memory(48 * kept, f"a sparse plan of {kept} entries", "keep fewer")
        index = (np.concatenate(rows), np.concatenate(cols))
        return sp.csr_array((np.concatenate(vals), index), shape=self._plan.shape)

    def _largest_of_rows(self, k: int) -> sp.csr_array:
        m = self._plan.shape[1]
        k = min(k, m)

        def parts() -> Iterator[Any]:
            for i, B in self._plan.blocks():
                c = np.argpartition(B, m - k, axis=1)[:, m - k :]
                r = np.repeat(np.arange(len(B)), k)
                v = np.take_along_axis(B, c, axis=1).ravel()
                c = c.ravel()
                yield i, r[v > 0], c[v > 0], v[v > 0]

        return self._collect(parts())

    def _largest_of_columns(self, k: int) -> sp.csr_array:
        n, m = self._plan.shape
        vals: NDArray[Any] = np.zeros((0, m))
        rows: NDArray[Any] = np.zeros((0, m), np.int64)
        for i, B in self._plan.blocks():
            vals = np.vstack([vals, B])
            rows = np.vstack([rows, np.broadcast_to(np.arange(i, i + len(B))[:, None], B.shape)])
            if len(vals) > k:
                keep = np.argpartition(vals, len(vals) - k, axis=0)[len(vals) - k :]
                vals, rows = (np.take_along_axis(z, keep, axis=0) for z in (vals, rows))
        cols = np.broadcast_to(np.arange(m), vals.shape)
        on = vals > 0
        return sp.csr_array((vals[on], (cols[on], rows[on])), shape=(m, n))

    def _cut(self, fraction: float) -> float:
        """The entry size above which the plan holds this fraction of its mass.

        Two histograms of log2 P, the second inside the bin of the first, weighted by mass.
        """
        low, high = -1100.0, 1100.0
        above = 0.0
        target = fraction * float(self._row.sum()) * self._problem.mass * (1 - 1e-12)
        for _ in range(2):
            edges = np.linspace(low, high, 4097)
            counts = np.zeros(4096)
            for _i, B in self._plan.blocks():
                v = B[B > 0].astype(np.float64)
                counts += np.histogram(np.log2(v), bins=edges, weights=v)[0]
            held = above + np.cumsum(counts[::-1])[::-1]
            k = int(np.flatnonzero(held >= target)[-1]) if held[0] >= target else 0
            above = held[k] - counts[k]
            low, high = edges[k], edges[k + 1]
        return float(2.0**low * (1 - 1e-12))

    # ------------------------------------------------------------------ for people

    def plot(self) -> Figure:
        """The plan (or the matching) and the convergence curve; needs ``ot-fast[plot]``.

        Raises
        ------
        TypeError
            For costs on a CUDA device.
        """
        self._check_plot()
        from ._plot import plot_result

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
