"""A plan that is not stored: it is computed from potentials and costs as it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._arrays import Place, to_numpy
from .._problem import Problem

Vector = NDArray[np.float64]
Marginals = tuple[Vector, Vector, float]
BLOCK = 1 << 22  # entries computed together
ROUNDING = 1e-15  # of dual values, relative to the potentials


@dataclass
class Plan:
    """``P_ij = a_i exp(phi_i + h_j - (C_ij - shift)/reg)`` with ``h = psi + log b``, in the core's
    orientation and, where nothing else is said, of the caller's mass.
    """

    problem: Problem
    phi: Vector
    psi: Vector
    h: Vector = field(init=False)
    a: Vector = field(init=False)

    def __post_init__(self) -> None:
        self.h = self.psi + self.problem.log_b()
        self.a = self.problem.a * self.problem.mass

    @property
    def shape(self) -> tuple[int, int]:
        return self.problem.shape

    @property
    def handle(self) -> Any:
        """For the core's passes."""
        return self.problem.core_plan(self.a, self.phi, self.h)

    # ------------------------------------------------------------------ sums

    def marginals(
        self, row: Vector | None = None, col: Vector | None = None, f64: bool = True
    ) -> Marginals:
        """Marginals and ``<C - shift, P>`` of ``diag(row) P diag(col)`` at unit mass: one pass."""
        p = self.problem
        with np.errstate(divide="ignore"):
            phi = self.phi if row is None else np.maximum(self.phi + np.log(row), -1e300)
            h = self.h if col is None else self.h + np.log(col)
        handle = p.core_plan(p.a, phi, h)
        s, c, cost = p.core.marginals(handle, f64 or not p.single, p.where)
        with np.errstate(invalid="ignore", over="ignore"):  # far from a solution it may overflow
            return p.a * s, c, float(p.a @ cost)

    @cached_property
    def unit(self) -> Marginals:
        """Marginals and cost of the plan itself at unit mass, in the precision of the costs."""
        return self.marginals(f64=False)

    @property
    def error(self) -> float:
        """``max(|P1 - a|_1, |P'1 - b|_1)`` at unit mass."""
        row, col, _ = self.unit
        return float(max(np.abs(row - self.problem.a).sum(), np.abs(col - self.problem.b).sum()))

    @cached_property
    def duals(self) -> tuple[Vector, Vector]:
        """Feasible potentials ``u_i + v_j <= C_ij - shift`` of transport without reg: three passes.

        The c-transforms of g and of f, or, where these are of no use, of 0 on either side: the pair
        of the largest dual value, less what the rounding of large potentials may add to it. Where
        there is no weight they are -inf.
        """
        p = self.problem
        found = self._transforms(p.core_reg * self.phi, p.core_reg * self.psi)
        zeros = np.zeros(len(p.a)), np.zeros(len(p.b))
        _, u, v = found if found[0] >= 0 else self._transforms(*zeros)
        return np.where(p.a > 0, u, -np.inf), np.where(p.b > 0, v, -np.inf)

    def _transforms(self, f: Vector, g: Vector) -> tuple[float, Vector, Vector]:
        """The better of the c-transforms of g and of f: its dual value at least, and both sides."""
        p = self.problem
        rows, columns = p.a > 0, p.b > 0
        best = -np.inf, f, g
        for start in (g, p.column_min(np.where(rows, f, -np.inf))):
            u, v = p.c_transform(np.where(columns & np.isfinite(start), start, -np.inf))
            with np.errstate(invalid="ignore", over="ignore"):
                dual = p.a[rows] @ u[rows] + p.b[columns] @ v[columns]
                size = p.a[rows] @ abs(u[rows]) + p.b[columns] @ abs(v[columns])
                value = float(dual - ROUNDING * size)
            if np.isfinite(value) and value > best[0]:
                best = value, u, v
        return best

    # ------------------------------------------------------------------ entries

    def rows(self, first: int, last: int) -> Any:
        """``P[first:last]``, where the costs live."""
        p = self.problem
        out = p.geometry.place.empty((last - first, self.shape[1]), p.plan_dtype)
        p.core.plan_rows(self.handle, first, last, out, p.where)
        return p.geometry.place.finished(out)

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """The plan by blocks of rows, on the host, each with the index of its first row."""
        n, m = self.shape
        step = max(1, BLOCK // m)
        for i in range(0, n, step):
            yield i, self.problem.geometry.place.host(self.rows(i, min(n, i + step)))

    def dense(self) -> Any:
        """All of it, as the caller sees it."""
        p = self.problem
        if p.lines.kept is not None:
            self._check_memory(*p.lines.geometry.shape)
        return p.lines.expanded_matrix(p.orient_matrix(self.matrix()))

    def matrix(self) -> Any:
        """All of it, as the core computes it."""
        self._check_memory(*self.shape)
        return self.rows(0, self.shape[0])

    def _check_memory(self, n: int, m: int) -> None:
        p = self.problem
        size = n * m * np.dtype(p.plan_dtype).itemsize
        remedy = "use sparsify(...) or plan_operator"
        _validate.check_memory(size, f"a dense plan ({n} x {m})", remedy, p.geometry.place)

    # ------------------------------------------------------------------ products

    def apply(self, V: NDArray[Any], columns: bool) -> Vector:
        """``P V``, or ``P' V`` with `columns`, for V of shape (size, k): one pass."""
        p = self.problem
        W = np.ascontiguousarray(np.asarray(V, np.float64).T)
        return p.core.apply_plan(self.handle, W, columns, p.where).T  # type: ignore[no-any-return]

    def operator(self) -> Any:
        """A linear operator of the caller's library: a pass a product."""
        p, lines = self.problem, self.problem.lines

        def product(V: NDArray[Any], columns: bool) -> Vector:
            out = self.apply(lines.restricted(V, 1 - columns), columns != p.transposed)
            return lines.expanded(out, int(columns))

        return linear_operator(p.geometry.place, lines.geometry.shape, p.plan_dtype, product)


def linear_operator(
    place: Place, shape: tuple[int, int], dtype: Any, product: Callable[[Vector, bool], Any]
) -> Any:
    """A linear operator of a library, from products of host matrices V: ``product(V, columns)`` is
    ``P V``, or ``P' V`` with `columns`.
    """

    def of(columns: bool) -> Any:
        def matmat(V: Any) -> Any:
            V = to_numpy(V, "V", place)
            if len(V) != shape[1 - columns]:
                raise ValueError(f"V must have {shape[1 - columns]} rows; got shape {V.shape}")
            out = product(V.reshape(len(V), -1), columns)
            return place.put(out.reshape(len(out), *V.shape[1:]).astype(dtype, copy=False))

        return matmat

    forward, backward = of(False), of(True)
    return place.linear_operator()(
        shape,
        matvec=forward,
        rmatvec=backward,
        matmat=forward,
        rmatmat=backward,
        dtype=np.dtype(dtype),
    )
