"""The parts of losses on clouds: entropic terms between two clouds, and their gradients."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from . import _second_start, _validate
from ._arrays import Place, dtype_of, lasting, place_of
from ._costs import cost_of
from ._errors import Status
from ._geometry import PointCloud, Points, points_of
from ._options import Callback, Options
from ._problem import Problem
from ._results.base import checked_status, describe

Vector = NDArray[np.float64]

TOL = 1e-6
MAX_ITER = 100_000  # passes over the costs of a term
FARTHEST = 1e150  # of coordinates: float64 holds the squares of this and of its inverse
FLOAT64_KERNEL = 1 << 20  # entries up to which a float64 kernel is stored (8 MiB)
FLOAT32_KERNEL = 1 << 24  # entries up to which a float32 kernel is stored (64 MiB)
STORED_COST = 1 << 21  # entries up to which costs of many dimensions are stored (16 MiB)
FEW_DIGITS = 1e-4  # tol from which Sinkhorn converges before Newton or a kernel pays off


# ---- what a loss is given ----------------------------------------------------------------------


def loss_options(**given: Any) -> Options:
    """Options of a loss: a tolerance of 1e-6 by default, and at least one pass."""
    options = Options(**(given if given.get("tol") is not None else given | {"tol": TOL}))
    if options.max_iter == 0:
        raise ValueError("max_iter must be an integer >= 1; got 0")
    return options


def cloud_of(x: Any, y: Any, cost: Any, p: Any, names: tuple[str, str]) -> PointCloud:
    """The costs of a loss: `x` itself where it is a PointCloud, else those of points x and y."""
    if isinstance(x, PointCloud):
        if not (y is None and cost is None and p is None):
            raise TypeError(
                f"{names[0]} is a PointCloud, which has {names[1]}, cost and p: leave them out"
            )
        x.place.namespace()  # TypeError where arrays have no arithmetic
        _check_range(*x.points)
        return x
    ground_cost = cost_of("sqeuclidean" if cost is None else cost, p)
    place_of(x, names[0]).namespace()
    points = points_of((x, y), names)
    _check_range(*points)
    return PointCloud.of(*points, ground_cost)


def _check_range(x: Points, y: Points) -> None:
    largest = max(x.largest, y.largest)
    if largest > FARTHEST or 0 < largest < 1 / FARTHEST:
        raise ValueError(
            f"the largest coordinate of {x.name} and {y.name} must lie within "
            f"{1 / FARTHEST:g} .. {FARTHEST:g}; it is {largest:g}. Rescale the points"
        )


def problem_of(
    cloud: PointCloud, a: Any, b: Any, reg: Any, unbalanced: Any, options: Options
) -> Problem:
    """The problem between two clouds, with fixed or relaxed marginals."""
    threads = options.thread_count
    _validate.no_threads(threads, cloud.points[0].name, cloud.place)
    if unbalanced is None:
        return Problem.balanced(a, b, cloud, reg, threads)
    return Problem.relaxed(a, b, cloud, reg, unbalanced, threads)


def own_problem(p: Problem, side: int) -> Problem:
    """The problem of x (side 0) or y (side 1) with itself."""
    weight, cloud = p.orient(p.a, p.b)[side], _cloud(p).own(side)
    whole = cloud if p.lines.kept is None else cast(PointCloud, p.lines.geometry).own(side)
    return replace(p, geometry=cloud, a=weight, b=weight, lines=p.lines.own(side, whole))


def _cloud(p: Problem) -> PointCloud:
    return cast(PointCloud, p.geometry)


# ---- a term -------------------------------------------------------------------------------------


class Term:
    """W(a, b) = min <C,P> + reg KL(P | a (x) b), marginals fixed or relaxed by rho KL.

    Everything is in the caller's units and at the mass of a and b, which sum to 1 unless rho is
    finite. Gradients are those of the dual at its maximum (Danskin): nothing is differentiated
    through the solver. Gradients in the points are where the points live; potentials and weights,
    vectors of length n and m, are on the host. ``phi`` and ``psi`` are of the core's rows and
    columns.
    """

    def __init__(self, p: Problem, phi: Vector, psi: Vector, outcome: Any) -> None:
        self.problem, self.phi, self.psi = p, phi, psi
        self.n_iter: int = outcome.n_iter
        self.error: float = outcome.error
        self.status: str = outcome.status
        self.value = p.value(outcome.dual_value)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_rows", "_columns")}

    @property
    def cloud(self) -> PointCloud:
        return _cloud(self.problem)

    @property
    def potentials(self) -> tuple[Vector, Vector]:
        """(f, g) of the points that are solved, in cost units."""
        p = self.problem
        return p.orient(p.reg * self.phi, p.reg * self.psi)

    def potential(self, side: int, asked: Vector | None = None) -> Vector:
        """f (side 0) or g (side 1) of all the caller's points: one pass where some have no weight,
        over their costs; with weights `asked`, of those of them that have weight there.
        """
        p = self.problem
        index, v = p.weightless(side, asked), p.lines.expanded(self.potentials[side], side)
        if len(index):
            points = cast(PointCloud, p.lines.geometry).points[side].take(index)
            v[index] = self.extended(points, side)
        return v

    @property
    def gradient_x(self) -> Any:
        """sum_j P_ij dc(x_i, y_j)/dx_i of all the caller's points, shape (n, d)."""
        p = self.problem
        return p.lines.expanded_rows(self._columns if p.transposed else self._rows, 0)

    @property
    def gradient_y(self) -> Any:
        """The same in y_j, shape (m, d)."""
        p = self.problem
        return p.lines.expanded_rows(self._rows if p.transposed else self._columns, 1)

    @cached_property
    def _rows(self) -> Any:
        """The gradient in the points of the core's rows: one pass over C."""
        return _row_gradient(self.problem, self.phi, self.psi)

    @cached_property
    def _columns(self) -> Any:
        """The same of the columns: one pass over the transpose."""
        p = self.problem
        turned = replace(p, geometry=self.cloud.turned, a=p.b, b=p.a)
        return _row_gradient(turned, self.psi, self.phi)

    def extended(self, points: Points, side: int) -> Vector:
        """The potential of x (side 0) or y (side 1) at other points: one pass over their costs to
        those of the other side.
        """
        p, other = self.problem, 1 - side
        cloud = PointCloud.of(
            points, self.cloud.points[other], self.cloud.ground_cost, transposed=False
        )
        weight, potential = p.orient(p.a, p.b)[other], p.orient(self.phi, self.psi)[other]
        rows = replace(p, geometry=cloud, a=np.ones(len(points.array)), b=weight)
        damping = 1.0 if math.isinf(p.rho) else p.rho / (p.rho + p.reg)
        return p.reg * rows.softmin(potential) * damping


def _row_gradient(p: Problem, phi: Vector, psi: Vector) -> Any:
    """The gradient in the points of the rows, whose phi is updated: float64, where they live."""
    phi, cloud, place = phi.copy(), _cloud(p), p.geometry.place
    with place.active():
        out = place.empty(cloud.rows.array.shape, np.float64)
        plan = p.core_plan(p.a, phi, psi + p.log_b())
        p.core.gradient(plan, p.core_rho, phi, out, p.where)
        return cloud.point_gradient(place.finished(out))


def solve_term(
    p: Problem, options: Options, f: Vector | None = None, g: Vector | None = None
) -> Term:
    """A term, started from potentials of the core's rows and columns, in cost units, where they are
    known.
    """
    cloud = _cloud(p)
    n, m = p.shape
    symmetric = cloud.points[0] is cloud.points[1]
    tol = options.tolerance(p)
    # Where nothing is known the solver starts at a reg, or a diagonal, that is safe.
    phi = np.zeros(n) if g is None else np.full(n, np.nan)
    if f is not None:
        phi = f / p.reg
    psi = np.zeros(m) if g is None else g / p.reg
    core, reg, warm = p.core, p.core_reg, g is not None or symmetric
    newton = tol < FEW_DIGITS and math.isinf(p.rho) and not symmetric
    solver = core.newton if newton else core.sinkhorn
    problem, kernel = p.core_problem(reg, _stored_costs(p), warm=warm), _kernel(p, tol, symmetric)

    def run(options: Options, again: bool) -> Any:
        settings = core.SinkhornOptions(
            options.limits(p, MAX_ITER),
            kernel=kernel,
            start=reg if warm or again else 0.0,
            rho=p.core_rho,
            symmetric=symmetric,
        )
        return solver(problem, settings, phi, psi, options.callback, p.where)

    if symmetric:  # exact transport stays where it is
        outcome = run(options, False)
    else:
        outcome = _second_start.solve(p, phi, psi, options, MAX_ITER, run)
    return Term(p.at(outcome.reg), phi, psi, outcome)


def _kernel(p: Problem, tol: float, symmetric: bool) -> str | None:
    """The storage of the kernel; None where it is not stored."""
    if not math.isinf(p.rho) or min(p.shape) == 1 or (symmetric and tol >= FEW_DIGITS):
        return None
    size = math.prod(p.shape)
    if size <= FLOAT64_KERNEL:
        return "float64"
    return "float32" if size <= FLOAT32_KERNEL else None


def _stored_costs(p: Problem) -> Any:
    """The costs as a matrix, for the core, where reading them is faster; else None."""
    cloud = _cloud(p)
    if cloud.dimension < 8 or math.prod(p.shape) > STORED_COST:
        return None
    costs = cloud.place.empty(p.shape, cloud.dtype)
    p.core.cost_rows(cloud.handle, costs, p.where)
    return p.core.dense(costs)


class Start(Protocol):
    """How the terms of a loss start."""

    def solve(self, name: str, p: Problem, options: Options) -> Term:
        """The term of this name."""
        ...


def solve_terms(problems: dict[str, Problem], start: Start, options: Options) -> dict[str, Term]:
    """The terms of a loss, one after the other; the time limit is that of all together."""
    end = None if options.time_limit is None else time.monotonic() + options.time_limit
    terms = {}
    for name, p in problems.items():
        own = options
        if end is not None:
            own = replace(own, time_limit=max(end - time.monotonic(), 1e-9))
        if options.callback is not None:
            own = replace(own, callback=_named(options.callback, name))
        terms[name] = start.solve(name, p, own)
    return terms


def _named(callback: Callback, name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda record: callback(record | {"term": name})


# ---- a loss ------------------------------------------------------------------------------------


class Loss:
    """What losses share: how their terms were solved."""

    _name: ClassVar[str]
    value: float

    def __init__(self, terms: dict[str, Term], tol: float) -> None:
        self._terms, self.tol = terms, tol
        self._worst = worst = max(
            terms.values(), key=lambda t: (t.status == Status.UNRESOLVED, t.error)
        )
        self.reg = worst.problem.reg
        self.marginal_error = worst.error
        self.n_iter = sum(t.n_iter for t in terms.values())
        self.status = checked_status(worst.status, worst.error <= tol)
        self.converged = self.status is Status.CONVERGED

    @property
    def message(self) -> str:
        text = f"{self._name}: error {self._worst.error:.2e} after {self._worst.n_iter} passes"
        return describe(text, self.tol, self.status, self.reg)

    def __getstate__(self) -> dict[str, Any]:
        return lasting(self)

    @property
    def _place(self) -> Place:
        return self._worst.cloud.place

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.value:.10g}, reg={self.reg:g}, marginal_error="
            f"{self.marginal_error:.1e}, n_iter={self.n_iter})"
        )


def total(points: Points, *terms: tuple[float, Any]) -> Any:
    """A weighted sum of gradients in points, in their dtype."""
    place = points.place
    with place.active():
        weight, out = terms[0]
        out = weight * out
        for weight, term in terms[1:]:
            out = out + weight * term
        return place.plain(out, dtype_of(points.array))
