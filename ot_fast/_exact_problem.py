"""A checked problem of exact transport, and its units: powers of two only.

Costs are ``C / 2^e`` and masses ``a / 2^k``, so that no digit of either changes: flows of integer
masses are integers, and potentials of integer costs can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import Place, to_numpy
from ._geometry import Geometry, as_geometry
from ._geometry.listed import ListedCost
from ._problem import given_potentials

Vector = NDArray[np.float64]
Pair = tuple[Vector, Vector]
ROUNDING = 1e-12  # relative difference of two sums


@dataclass(frozen=True)
class ExactProblem:
    """Costs and masses of one problem, as the caller has them."""

    geometry: Geometry | ListedCost
    a: Vector
    b: Vector
    b_scale: float  # the factor by which the sum of the caller's b was made that of a
    mass: float  # the sum of a
    mass_exponent: int  # k: the core's masses sum to 1/2 .. 1
    threads: int = 0  # 0: the default

    @classmethod
    def of(cls, a: Any, b: Any, C: Any, threads: int = 0) -> ExactProblem:
        geometry = ListedCost(C) if _is_sparse(C) else as_geometry(C)
        _validate.no_threads(threads, "C", geometry.place)
        wa, wb, mass, b_scale = _masses(a, b, geometry.shape, geometry.place)
        return cls(geometry, wa, wb, b_scale, mass, math.frexp(mass)[1], threads)

    @property
    def host(self) -> Geometry | ListedCost:
        """The costs on the host, where the simplex works."""
        g = self.geometry
        return g if isinstance(g, ListedCost) or not g.place.cuda else g._copied(g.__getstate__())

    def orient(self, u: Any, v: Any) -> tuple[Any, Any]:
        """(rows, columns) of the core from those of the caller, or the caller's from the core's."""
        return (v, u) if self.geometry.transposed else (u, v)

    def core_masses(self) -> tuple[Vector, Vector]:
        k = -self.mass_exponent
        a, b = self.orient(np.ldexp(self.a, k), np.ldexp(self.b, k))
        return a, b

    def value(self, v: float) -> float:
        """A transport cost of the core in the caller's units; infinite where it overflows."""
        try:
            return math.ldexp(v, self.geometry.exponent + self.mass_exponent)
        except OverflowError:
            return math.copysign(math.inf, v)

    def value_of_mass(self, v: float) -> float:
        """A mass of the core in the caller's units."""
        return math.ldexp(v, self.mass_exponent)

    def flows(self, flow: Vector) -> Vector:
        return np.ldexp(flow, self.mass_exponent)

    def potentials(self, f: Vector, g: Vector) -> tuple[Vector, Vector]:
        """The caller's potentials from the core's."""
        e = self.geometry.exponent
        with np.errstate(over="ignore"):
            return self.orient(np.ldexp(f, e), np.ldexp(g, e))

    def initial(self, init: Any) -> Vector | None:
        """The core's potentials of rows: of a result, or of a pair of which one may be None."""
        if init is None:
            return None
        f, g, place = given_potentials(init, self.geometry.place)
        f, g = (
            None if v is None else _validate.potential(v, name, size, place)
            for v, name, size in zip((f, g), "fg", self.geometry.shape, strict=True)
        )
        rows, columns = self.orient(f, g)
        e = self.geometry.exponent
        if rows is not None:
            scaled: Vector = np.ldexp(rows, -e)
            return scaled
        if columns is None:
            return None
        host, weight = self.host, self.orient(self.a, self.b)[0]
        if isinstance(host, ListedCost):
            return host.row_minima(np.ldexp(columns, -e))
        low = host.core.c_transform(host.handle, np.ldexp(columns, -e), weight, self.threads)[0]
        return np.where(np.isfinite(low), low + host.shift, 0.0)  # of C / 2^e - shift


def _is_sparse(C: Any) -> bool:
    """Whether C is a sparse matrix of SciPy, which is not imported for others."""
    return type(C).__module__.startswith("scipy.sparse")


def _masses(
    a: Any, b: Any, shape: tuple[int, int], place: Place
) -> tuple[Vector, Vector, float, float]:
    """a, b, the sum of a and the factor put on b; both as given where their sums are equal."""
    n, m = shape
    _validate.marginals(a, b, n, m, place)
    wa, wb = (
        None if w is None else np.array(to_numpy(w, name, place), np.float64)
        for w, name in ((a, "a"), (b, "b"))
    )
    if wa is None:
        wa = np.full(n, (1.0 if wb is None else float(wb.sum())) / n)
    if wb is None:
        wb = np.full(m, float(wa.sum()) / m)
    mass = float(wa.sum())
    scale = mass / float(wb.sum())
    if abs(scale - 1) > ROUNDING:  # what rounding leaves the core gives to the largest mass
        wb *= scale
    return wa, wb, mass, scale
