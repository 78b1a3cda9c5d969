"""Entropic transport between two clouds as a term of a loss: value, potentials, gradients."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import HOST, Place, dtype_of, place_of
from ._costs import Cost
from ._errors import ConvergenceError, ConvergenceWarning
from ._geometry import PointCloud, Points, points_of

Vector = NDArray[np.float64]

LEAST_REG = 1e-12  # of the largest cost: below, float64 does not resolve f + g - C
FARTHEST = 1e150  # of coordinates: float64 holds the squares of this and of its inverse
ON_FAIL = ("warn", "raise", "ignore")
FLOAT64_KERNEL = 1 << 20  # entries up to which a float64 kernel is stored (8 MiB)
STORED_COST = 1 << 21  # entries up to which costs of many dimensions are stored (16 MiB)
FLOAT32_KERNEL = 1 << 24  # entries up to which a float32 kernel is stored (64 MiB)


class Transport:
    """W(a, b) = min <C,P> + reg KL(P | a (x) b), marginals fixed or relaxed by rho KL.

    Everything is in the caller's units and at the mass of a and b, which sum to 1 unless rho is
    finite. Gradients are those of the dual at its maximum (Danskin): nothing is differentiated
    through the solver. Points, kernels and gradients in the points stay where the points live;
    potentials and weights, vectors of length n and m, are on the host.
    """

    def __init__(
        self,
        cloud: PointCloud,
        a: Vector,
        b: Vector,
        reg: float,
        *,
        tol: float,
        max_iter: int,
        threads: int,
        rho: float = math.inf,
        symmetric: bool = False,
        g: Vector | None = None,
        f: Vector | None = None,
    ) -> None:
        self.cloud, self.a, self.b = cloud, a, b
        self.reg, self.rho, self.tol, self.symmetric = reg, rho, tol, symmetric
        self.threads = threads
        self._core_reg = math.ldexp(reg, -cloud.exponent)
        self._core_rho = math.ldexp(rho, -cloud.exponent)
        if self._core_reg < LEAST_REG * cloud.range:
            most = math.ldexp(cloud.range, cloud.exponent)
            raise ValueError(
                f"reg must be at least {LEAST_REG:g} of the largest cost, which is up to {most:g}; "
                f"reg = {reg:g}. Raise reg or rescale the points"
            )
        n, m = cloud.shape
        cold = g is None
        # Where nothing is known the solver starts at a reg, or a diagonal, that is safe.
        self.phi: Vector = np.zeros(n) if cold else np.full(n, np.nan)
        if f is not None:
            self.phi = f / reg
        self.psi: Vector = np.zeros(m) if g is None else g / reg
        size = n * m
        core, handle = cloud.core, cloud.handle
        if cloud.x.shape[1] >= 8 and size <= STORED_COST:
            costs = cloud.place.empty(cloud.shape, cloud.dtype)
            core.cost_rows(handle, costs, self._where)
            handle = core.dense(costs)
        kernel = None
        # Symmetric solves to a few digits end before a kernel has paid for itself.
        if math.isinf(rho) and min(n, m) > 1 and not (symmetric and tol >= 1e-4):
            kernel = (
                "float64"
                if size <= FLOAT64_KERNEL
                else "float32"
                if size <= FLOAT32_KERNEL
                else None
            )
        options = core.SinkhornOptions(
            core.Limits(tol, max_iter),
            kernel=kernel,
            start=self._core_reg if g is not None or symmetric else 0.0,
            rho=self._core_rho,
            symmetric=symmetric,
        )
        # Many digits are Newton's, few are Sinkhorn's.
        newton = tol < 1e-4 and math.isinf(rho) and not symmetric
        solver = core.newton if newton else core.sinkhorn
        problem = core.Problem(handle, a, b, self._core_reg, cloud.scale)
        outcome = solver(problem, options, self.phi, self.psi, None, self._where)
        self.n_iter: int = outcome.n_iter
        self.error: float = outcome.error
        self.value = math.ldexp(outcome.dual_value, cloud.exponent)
        self.status: str = outcome.status

    @property
    def _where(self) -> Any:
        return self.cloud.place.where(self.threads)

    @property
    def f(self) -> Vector:
        """Potentials of x in cost units."""
        return self.reg * self.phi

    @cached_property
    def g(self) -> Vector:
        """Potentials of y; where b is 0, their soft c-transform."""
        if not (self.b == 0).any():
            return self.reg * self.psi
        return np.where(self.b > 0, self.reg * self.psi, self.reg * self._columns[0])

    @cached_property
    def gradient_x(self) -> Any:
        """sum_j P_ij dc(x_i, y_j)/dx_i, shape (n, d): one pass over C."""
        return self._gradient(self.cloud, self.a, self.phi, self._log(self.b) + self.psi)[1]

    @property
    def gradient_y(self) -> Any:
        """The same in y_j, shape (m, d)."""
        return self._columns[1]

    @cached_property
    def _columns(self) -> tuple[Vector, Any]:
        """Updated psi, and the gradient in y: one pass over the swapped costs."""
        h = self._log(self.a) + self.phi
        psi = np.where(self.b > 0, self.psi, np.nan)
        return self._gradient(self.cloud.swapped, self.b, psi, h)

    def _gradient(self, cloud: PointCloud, a: Vector, phi: Vector, h: Vector) -> tuple[Vector, Any]:
        """phi after a row update, and the gradient in the row points: float64, where they live."""
        phi, place = phi.copy(), cloud.place
        with place.active():
            out = place.empty(cloud.x.shape, np.float64)
            plan = cloud.core.Plan(cloud.handle, a, self._core_reg, phi, h)
            cloud.core.gradient(plan, self._core_rho, phi, out, self._where)
            out = place.finished(out)
            out = cloud.point_gradient(out)
        return phi, out

    @staticmethod
    def _log(w: Vector) -> Vector:
        with np.errstate(divide="ignore"):
            return np.log(w)

    def extended(self, points: Points) -> Vector:
        """The potential g at other points y: one pass over their costs to x."""
        cloud = PointCloud.of(points, self.cloud.points[0], self.cloud.law)
        reg = math.ldexp(self.reg, -cloud.exponent)
        h = self._log(self.a) + self.phi
        g: Vector = cloud.core.softmin(cloud.handle, reg, h, self._where)
        return self.reg * g * (1.0 if math.isinf(self.rho) else self.rho / (self.rho + self.reg))


class WarmStart:
    """Carries potentials from call to call of a loss in a training loop.

    Pass one object as ``init`` to :func:`monge_gap`, :func:`sinkhorn_divergence` or their layers in
    ``ot_fast.torch`` and ``ot_fast.jax``, at every step. Each term of each loss starts from the
    potentials of the last call: where the points they belong to are the same, as they are; on
    another batch, as the dual function that they define, evaluated at the new points (one pass,
    counted). A term of which nothing has changed is not solved again. Whether that pays is
    measured as it goes: now and then a term is solved from nothing, and where that takes fewer
    passes (large reg, small batches) it stays with it.

    Attributes
    ----------
    solves : int
        Terms solved.
    passes : int
        Passes over the costs that they took, extensions included.
    saved : int
        Passes saved, counting every solve at the mean of the cold ones of its term so far.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(100, 2))
    >>> warm = otf.WarmStart()
    >>> for step in range(5):
    ...     gap = otf.monge_gap(x, (2 + 0.01 * step) * x, reg=0.1, init=warm)
    >>> warm.solves, warm.saved > 0
    (5, True)
    """

    def __init__(self) -> None:
        self._last: dict[str, Transport] = {}
        self._means: dict[str, dict[str, list[float]]] = {}  # name -> start -> passes, solves
        self.reset_counts()

    def reset_counts(self) -> None:
        """Start counting again; potentials stay."""
        self.solves = self.passes = self.saved = 0

    def _chosen(self, name: str, start: str) -> str:
        """This start, or "cold" where that has taken fewer passes so far or is due for a look."""
        cold, other = self._means[name]["cold"], self._means[name].get(start)
        if other is None:
            return start
        better, worse = start, "cold"
        if cold[0] * other[1] < other[0] * cold[1]:
            better, worse = worse, better
        tries = cold[1] + other[1]
        return worse if self._means[name][worse][1] < tries / 100 else better

    def transport(self, name: str, cloud: PointCloud, a: Vector, b: Vector, reg: float,
                  **options: Any) -> Transport:  # fmt: skip
        """The term of this name, started from its last potentials."""
        last = self._last.get(name)
        f, g, extra, start = None, None, 0, "cold"
        if last is not None:
            old = last.cloud
            fits = _kind(old) == _kind(cloud)
            same_y = fits and _equal(old.points[1], cloud.points[1])
            same_x = same_y and _equal(old.points[0], cloud.points[0])
            if same_x and _same(last, a, b, reg, options):
                self.saved += round(self._cold_passes(name))
                return last
            start = "cold"
            if fits and old.x.shape[1] == cloud.x.shape[1]:
                start = self._chosen(name, "same" if same_y else "extended")
            if start == "same":
                g = last.g
                if old.shape == cloud.shape:  # a guess that the first pass replaces
                    f = last.f
            elif start == "extended":
                g, extra = last.extended(cloud.points[1]), 1
        new = Transport(cloud, a, b, reg, g=g, f=f, **options)
        passes = new.n_iter + extra
        mean = self._means.setdefault(name, {}).setdefault(start, [0.0, 0.0])
        mean[0] += passes
        mean[1] += 1
        self.solves += 1
        self.passes += passes
        self.saved += round(self._cold_passes(name)) - passes
        self._last[name] = new
        return new

    def _cold_passes(self, name: str) -> float:
        passes, solves = self._means[name]["cold"]
        return passes / solves

    def __repr__(self) -> str:
        return f"WarmStart({self.solves} solves, {self.passes} passes, {self.saved} saved)"


def _kind(cloud: PointCloud) -> tuple[Any, ...]:
    return cloud.law, cloud.dtype, cloud.place


def _equal(x: Points, y: Points) -> bool:
    """Whether two clouds of one place are the same."""
    if x.array.shape != y.array.shape or not np.array_equal(x.box, y.box):
        return False
    with x.place.active():
        return bool((x.array == y.array).all())


def _same(last: Transport, a: Vector, b: Vector, reg: float, options: dict[str, Any]) -> bool:
    return (
        last.reg == reg
        and last.error <= options["tol"]
        and last.rho == options.get("rho", math.inf)
        and np.array_equal(last.a, a)
        and np.array_equal(last.b, b)
    )


class Given:
    """Starts from potentials that the caller gave, by the name of their term."""

    def __init__(self, potentials: dict[str, Vector]) -> None:
        self.potentials = potentials

    def transport(self, name: str, cloud: PointCloud, a: Vector, b: Vector, reg: float,
                  **options: Any) -> Transport:  # fmt: skip
        return Transport(cloud, a, b, reg, g=self.potentials.get(name), **options)


def options_of(tol: Any, max_iter: Any, threads: Any, points: Points) -> dict[str, Any]:
    """Validated keyword arguments of a Transport."""
    count = _validate.thread_count(threads)
    _validate.no_threads(count, points.name, points.place)
    return {
        "tol": 1e-6 if tol is None else _validate.real(tol, "tol", positive=False),
        "max_iter": 100_000
        if max_iter is None
        else _validate.integer(max_iter, "max_iter", least=1),
        "threads": count,
    }


def clouds_of(x: Any, y: Any, names: tuple[str, str]) -> tuple[Points, Points]:
    """Two validated clouds of one dimension, dtype and place, copied."""
    place_of(x, names[0]).namespace()  # TypeError where arrays have no arithmetic
    xs, ys = points_of((x, y), names)
    reach = max(xs.reach, ys.reach)
    if reach > FARTHEST or 0 < reach < 1 / FARTHEST:
        raise ValueError(
            f"the largest coordinate of {names[0]} and {names[1]} must lie within "
            f"{1 / FARTHEST:g} .. {FARTHEST:g}; it is {reach:g}. Rescale the points"
        )
    return xs, ys


def start_of(
    init: Any, kind: type[Any], terms: list[tuple[str, str | None, int]], place: Place
) -> WarmStart | Given:
    """How the terms start: a WarmStart as it is, or the potentials of a result or of a tuple.

    `terms` holds the name of each potential, the term that it starts (None: none) and its size. A
    result may be of any place, as its potentials are on the host; a tuple is of `place`.
    """
    if isinstance(init, WarmStart):
        return init
    if init is None:
        return Given({})
    if isinstance(init, kind):
        init, place = init._host_potentials(), HOST
    names = ", ".join(name for name, _, _ in terms)
    if not isinstance(init, (tuple, list)) or len(init) != len(terms):
        raise TypeError(
            f"init must be a WarmStart, a {kind.__name__} or a tuple ({names}); got "
            f"{type(init).__name__}"
        )
    starts = {}
    for value, (name, term, size) in zip(init, terms, strict=True):
        checked = _validate.potential(value, name, size, place)
        if term:
            starts[term] = checked
    return Given(starts)


def paired(x: Points, y: Points, law: Cost) -> tuple[Any, Any]:
    """c(x_i, y_i), and its gradient in y_i: float64, where the points live."""
    place = x.place
    with place.active():
        u, v = (place.plain(w.array, np.float64) for w in (x, y))
        return law.value_and_gradient(u, v, place.namespace())


def total(points: Points, *terms: tuple[float, Any]) -> Any:
    """A weighted sum of gradients in points, in their dtype."""
    place = points.place
    with place.active():
        weight, out = terms[0]
        out = weight * out
        for weight, term in terms[1:]:
            out = out + weight * term
        return place.plain(out, dtype_of(points.array))


def report(terms: list[Transport], what: str, on_fail: str, result: Any) -> None:
    """A warning or an exception where a term has not converged."""
    worst = max(terms, key=lambda t: t.error)
    if worst.error <= worst.tol or on_fail == "ignore":
        return
    message = (
        f"{what}: error {worst.error:.2e} after {worst.n_iter} passes, above tol {worst.tol:g} "
        f"({worst.status}): raise max_iter, tol or reg"
    )
    if on_fail == "raise":
        raise ConvergenceError(message, result)
    warnings.warn(message, ConvergenceWarning, stacklevel=4)
