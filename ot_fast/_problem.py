"""A checked, normalised problem: the only module that knows what the core computes, in which units.

=====================  ==============  ===================================
quantity               the caller's    the core's
=====================  ==============  ===================================
costs                  ``C``           ``C / 2^e - shift``
weights                ``a, b``        ``a / M, b / M``, where sum a = M
reg, rho               ``reg, rho``    ``reg / 2^e, rho / 2^e``
reg of ``|P|^2 / 2``   ``reg``         ``reg M / 2^e``
potentials             ``f, g``        ``f / 2^e - shift, g / 2^e``
the same over reg                      ``f / reg + log M, g / reg``
transport cost         ``v``           ``v / (2^e M) - shift``
rows, columns          of ``C``        those that have weight (see ``_lines``), of ``C'`` where C
                                       has more columns
=====================  ==============  ===================================

``e`` and ``shift = min C`` belong to the geometry, whose handle reads the scaled costs. A relaxed
problem has M = 1 and keeps its weights, and its costs have no shift: either would change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from . import _feasible, _validate
from ._arrays import HOST, Place
from ._geometry import Geometry, PointCloud, as_geometry
from ._lines import Index, Lines

Vector = NDArray[np.float64]
Pair = tuple[Vector, Vector]

LARGEST_REG = 1e300  # of the core: beyond it costs are constant to the last digit
LARGEST_FLOAT = float(np.finfo(np.float64).max)
LEAST_REG = 1e-300
FAR = 8.0  # scales of the costs: a column whose least cost is larger is far
SAME_SUM = 1e-12  # relative difference of two sums that is rounding


class History(TypedDict):
    """A solve by passes, in the caller's units: one entry of every array a record."""

    n_iter: NDArray[np.int64]
    reg: Vector
    error: Vector
    dual_value: Vector
    elapsed: Vector  # seconds


@dataclass(frozen=True)
class Problem:
    """Costs, weights and reg of one problem; ``geometry`` holds the costs of the lines that are
    solved, ``a`` and ``b`` are weights of the core's rows and columns, everything else is the
    caller's.
    """

    geometry: Geometry
    a: Vector
    b: Vector
    reg: float
    lines: Lines
    mass: float = 1.0  # M: the caller's a is mass * a
    b_scale: float = 1.0  # the factor by which the sum of the caller's b was made that of a
    rho: float = math.inf  # penalty on marginals that are not met; inf: they are met
    threads: int = 0  # 0: the default

    # ------------------------------------------------------------------ construction

    @classmethod
    def balanced(cls, a: Any, b: Any, C: Any, reg: Any, threads: int = 0) -> Problem:
        """Check and normalise a problem with fixed marginals; InfeasibleError for a row or column
        without a finite cost.
        """
        reg = _validate.real(reg, "reg", positive=True)
        geometry = as_geometry(C)
        _validate.no_threads(threads, "C", geometry.place)
        n, m = geometry.shape
        wa, wb, mass, mass_b = _validate.marginals(a, b, n, m, geometry.place)
        lines, b_scale = Lines.of(geometry, wa, wb), mass / mass_b
        n, m = lines.shape
        if n < m and abs(b_scale - 1) < SAME_SUM:
            mass = mass_b  # the mass of the transposed problem, to the bit
        problem = cls._of_lines(lines, wa, wb, reg=reg, mass=mass, b_scale=b_scale, threads=threads)
        if problem.core_reg <= LEAST_REG:
            raise ValueError(f"reg must be above 1e-300 of the largest cost; reg = {reg:g}")
        if problem.geometry.has_forbidden:
            _feasible.check_lines(problem)
        return problem

    @classmethod
    def relaxed(
        cls, a: Any, b: Any, cloud: PointCloud, reg: Any, rho: Any, threads: int = 0
    ) -> Problem:
        """The same where rho KL penalises the marginals; masses may differ."""
        reg = _validate.real(reg, "reg", positive=True)
        rho = _validate.real(rho, "unbalanced", positive=True)
        _validate.no_threads(threads, "C", cloud.place)
        wa, wb = (
            np.full(size, 1.0 / size)
            if w is None
            else _validate.weights(w, name, size, cloud.place)[0]
            for w, name, size in zip((a, b), "ab", cloud.shape, strict=True)
        )
        lines = Lines.of(cloud, wa, wb)
        return cls._of_lines(lines, wa, wb, reg=reg, rho=rho, threads=threads)

    @classmethod
    def _of_lines(cls, lines: Lines, a: Vector, b: Vector, **units: Any) -> Problem:
        """The problem of the lines that are solved, from the caller's weights."""
        a, b = lines.restricted(a, 0), lines.restricted(b, 1)
        solved = lines.solved()
        if solved.transposed:
            a, b = b, a
        return cls(solved, a, b, lines=lines, **units)

    def at(self, core_reg: float) -> Problem:
        """The same problem at another reg, in the core's units."""
        if core_reg == self.core_reg:
            return self
        return replace(self, reg=_ldexp(core_reg, self.exponent))

    # ------------------------------------------------------------------ orientation

    @property
    def transposed(self) -> bool:
        return self.geometry.transposed

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the core's costs."""
        return len(self.a), len(self.b)

    def orient(self, u: Any, v: Any) -> tuple[Any, Any]:
        """(rows, columns) of the core from those of the caller, or the caller's from the core's."""
        return (v, u) if self.transposed else (u, v)

    def orient_matrix(self, P: Any) -> Any:
        """The same for a matrix."""
        return P.T if self.transposed else P

    def weight(self, side: int) -> Vector:
        """The caller's a (side 0) or b (side 1), at unit mass."""
        return self.lines.expanded(self.orient(self.a, self.b)[side], side)

    def weightless(self, side: int, asked: Vector | None = None) -> Index:
        """The caller's rows (side 0) or columns (side 1) without weight; with other weights
        `asked`, those of them that have weight there.
        """
        on = self.weight(side) == 0
        if asked is not None and len(asked) == len(on):
            on &= asked > 0
        return np.flatnonzero(on)

    # ------------------------------------------------------------------ precision

    @property
    def single(self) -> bool:
        """Whether the costs are float32."""
        return bool(self.geometry.dtype == np.float32)

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """The dtype of potentials."""
        return np.float32 if self.single else np.float64

    @property
    def plan_dtype(self) -> type[np.floating[Any]]:
        """float32 for float32 costs, unless entries of a plan of this mass leave its range."""
        return np.float32 if self.single and 1e-18 < self.mass < 1e30 else np.float64

    # ------------------------------------------------------------------ units

    @property
    def exponent(self) -> int:
        return self.geometry.exponent

    @property
    def shift(self) -> float:
        return self.geometry.shift

    def core_cost(self, value: float) -> float:
        """A difference of costs, as reg and rho are, in the core's units."""
        return _ldexp(value, -self.exponent)

    @property
    def core_reg(self) -> float:
        return min(self.core_cost(self.reg), LARGEST_REG)

    @property
    def core_rho(self) -> float:
        return self.core_cost(self.rho)

    @property
    def quadratic_reg(self) -> float:
        """reg of reg/2 |P|^2, which at unit mass is M times larger relative to <C,P>."""
        return min(self.core_reg * self.mass, LARGEST_REG)

    def values(self, v: Any, mass: float = 1.0) -> Any:
        """Transport costs of the core's plans of this mass, in the caller's units."""
        with np.errstate(over="ignore"):  # potentials far from a solution may have any value
            return np.ldexp(v + self.shift * mass, self.exponent) * self.mass

    def value(self, v: float, mass: float = 1.0) -> float:
        return _ldexp(v + self.shift * mass, self.exponent) * self.mass

    def mass_entropy(self, mass: float = 1.0) -> float:
        """KL(P | a (x) b) of the caller's plan, less M times that of the core's, of this mass."""
        M = self.mass
        return M * (M - 1 - mass * math.log(M)) if M != 1 else 0.0

    def potentials(self, f: Vector, g: Vector) -> Pair:
        """The caller's potentials from the core's f and g; 0 at lines that are not solved."""
        with np.errstate(over="ignore"):
            f, g = np.ldexp(f + self.shift, self.exponent), np.ldexp(g, self.exponent)
        f, g = self.orient(f, g)
        return self.lines.expanded(f, 0), self.lines.expanded(g, 1)

    def rounded(self, potentials: Pair) -> tuple[NDArray[Any], NDArray[Any]]:
        """Potentials in the dtype of the costs; in float64 where they leave its range."""
        largest = max(float(np.abs(v).max(initial=0.0)) for v in potentials)
        dtype = self.dtype if largest <= float(np.finfo(self.dtype).max) else np.float64
        f, g = (v.astype(dtype) for v in potentials)
        return f, g

    def phi(self, f: Vector) -> Vector:
        """``f / reg + log M``, in the core's units."""
        return f / self.core_reg + math.log(self.mass)

    def psi(self, g: Vector) -> Vector:
        """``g / reg``, in the core's units."""
        return g / self.core_reg

    def unscaled(self, phi: Vector, psi: Vector) -> Pair:
        """The core's f and g."""
        return self.core_reg * (phi - math.log(self.mass)), self.core_reg * psi

    def initial(self, init: Any) -> tuple[Vector | None, Vector | None]:
        """The core's f and g from `init`: a result, or a pair of which one may be None."""
        if init is None:
            return None, None
        f, g, place = given_potentials(init, self.geometry.place, (self.weight(0), self.weight(1)))
        f = None if f is None else self.lines.start(f, "f", 0, place)
        g = None if g is None else self.lines.start(g, "g", 1, place)
        f, g = self.orient(f, g)
        k = -self.exponent
        return (
            None if f is None else np.ldexp(f, k) - self.shift,
            None if g is None else np.ldexp(g, k),
        )

    def far_columns(self) -> Vector:
        """The core's g of a cold start: 0, but the least cost of a column far from all rows,
        which would climb there step by step. Rows are eliminated, and may be as far as they like.
        """
        g, least = np.zeros(len(self.b)), FAR * self.geometry.scale
        if self.geometry.range > least:
            low = self.column_min(np.zeros(len(self.a)))
            far = np.isfinite(low) & (low > least)
            g[far] = low[far]
        return g

    def entropic_history(self, columns: dict[str, Vector]) -> History:
        """The history of a solve with reg KL(P | a (x) b)."""
        reg = self._regs(columns)
        with np.errstate(over="ignore"):
            dual = self.values(columns["dual_value"]) + reg * self.mass_entropy()
        return _history(columns, reg, dual)

    def quadratic_history(self, columns: dict[str, Vector]) -> History:
        """The history of a solve with reg/2 |P|^2."""
        reg = self._regs(columns) / self.mass
        return _history(columns, reg, self.values(columns["dual_value"]))

    def _regs(self, columns: dict[str, Vector]) -> Vector:
        """The values of reg, at most the largest float."""
        with np.errstate(over="ignore"):
            reg = np.ldexp(columns["reg"], self.exponent)
        return np.minimum(reg, LARGEST_FLOAT)

    # ------------------------------------------------------------------ what the core is given

    @property
    def core(self) -> Any:
        """The core that reads the costs where they live."""
        return self.geometry.core

    @property
    def where(self) -> Any:
        """What a call of that core needs to know: threads, or a stream."""
        return self.geometry.place.where(self.threads)

    def core_problem(self, reg: float, handle: Any = None, *, warm: bool = False) -> Any:
        """What a solver of the core takes; `handle` may hold the same costs in another form. With
        `warm` the scale of the costs, from which reg would fall, is not looked for.
        """
        g = self.geometry
        scale = g.range if warm else g.scale
        return self.core.Problem(handle or g.handle, self.a, self.b, reg, scale)

    def core_plan(self, a: Vector, phi: Vector, h: Vector) -> Any:
        """``P_ij = a_i exp(phi_i + h_j - (C_ij - shift)/reg)``, for the passes that read it."""
        return self.core.Plan(self.geometry.handle, a, self.core_reg, phi, h)

    # ------------------------------------------------------------------ passes over the costs

    def log_b(self) -> Vector:
        with np.errstate(divide="ignore"):
            return np.log(self.b)

    def softmin(self, psi: Vector) -> Vector:
        """``phi_i = -log sum_j b_j exp(psi_j - C_ij/reg)``: rows become exact."""
        h = psi + self.log_b()
        phi: Vector = self.core.softmin(self.geometry.handle, self.core_reg, h, self.where)
        lost = ~np.isfinite(phi)
        if lost.any():  # the rounding of C/reg is above all exponents: the minimum is as good
            low = self.c_transform(np.where(self.b > 0, self.core_reg * psi, -np.inf))[0]
            phi[lost] = (low / self.core_reg)[lost]
        return phi

    def column_softmin(self, f: Vector) -> Vector:
        """``psi_j = -log sum_i a_i exp((f_i - C_ij)/reg)``, from the hard minimum: two passes."""
        low = self.column_min(f)
        psi = np.where(np.isfinite(low), low, 0.0) / self.core_reg
        plan = self.core_plan(self.a, f / self.core_reg, psi)
        col: Vector = self.core.marginals(plan, True, self.where)[1]
        col = np.minimum(col, self.a.sum())  # no exponent is above 0, up to the rounding of C/reg
        return psi - np.log(np.where(col > 0, col, 1.0))

    def c_transform(self, g: Vector) -> Pair:
        """``u_i = min_j C_ij - g_j``, and ``v_j = min_i C_ij - u_i`` over rows that have mass."""
        u, v = self.core.c_transform(self.geometry.handle, g, self.a, self.where)
        return u, v

    def column_min(self, f: Vector, weight: Vector | None = None) -> Vector:
        """``min_i C_ij - f_i`` over rows that have mass (or this weight)."""
        weight = self.a if weight is None else weight
        low: Vector = self.core.column_min(self.geometry.handle, f, weight, self.where)
        return low

    def cost_apply(self, w: Vector) -> Vector:
        """``C w``."""
        product: Vector = self.core.cost_apply(self.geometry.handle, w, self.where)
        return product

    def transform(self, v: Vector, *, rows: bool, soft: bool) -> Vector:
        """The c-transform of a potential: of the core's rows (or columns) from that of the others,
        in the caller's units. Soft where a plan is entropic.
        """
        v = np.ldexp(v, -self.exponent)
        if rows:
            f = self.unscaled(self.softmin(self.psi(v)), v)[0] if soft else self.c_transform(v)[0]
            return np.ldexp(f + self.shift, self.exponent)
        v -= self.shift
        if soft:
            g = self.core_reg * self.column_softmin(self.core_reg * self.phi(v))
        else:
            g = self.column_min(v)
        return np.ldexp(g, self.exponent)


def given_potentials(init: Any, place: Place, asked: Any = (None, None)) -> tuple[Any, Any, Place]:
    """f and g of a result, or of a pair of which one may be None, and where they live; of a result
    those that the weights `asked` need.
    """
    given = init
    if hasattr(init, "_host_potentials"):
        given, place = init._host_potentials(asked), HOST
    try:
        f, g = given
    except (TypeError, ValueError):
        raise TypeError(
            f"init must be a result with two potentials or a pair (f, g); got {type(init).__name__}"
        ) from None
    return f, g, place


def _ldexp(x: float, exponent: int) -> float:
    """x 2^exponent, which is infinite where it overflows."""
    try:
        return math.ldexp(x, exponent)
    except OverflowError:
        return math.copysign(math.inf, x)


def _history(columns: dict[str, Vector], reg: Vector, dual: Vector) -> History:
    return {
        "n_iter": columns["n_iter"].astype(np.int64),
        "reg": reg,
        "error": columns["error"],
        "dual_value": dual,
        "elapsed": columns["elapsed"],
    }
