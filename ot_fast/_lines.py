"""Rows and columns without weight: left out of a solve, and put back into its result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import Place
from ._geometry import DenseCost, Geometry

Vector = NDArray[np.float64]
Index = NDArray[np.int64]

COPIED = 0.25  # of the entries of a stored C: where more have weight, they are not copied


@dataclass(frozen=True)
class Lines:
    """Which rows (side 0) and columns (side 1) of the caller's costs are solved.

    Those of points that have weight. Of a stored matrix all, unless those that have weight are few
    enough to be copied: a line that stays without weight is masked by it, as ``log 0 = -inf``.
    """

    geometry: Geometry  # the caller's
    kept: tuple[Index, Index] | None = None  # None: all

    @classmethod
    def of(cls, geometry: Geometry, a: Vector, b: Vector) -> Lines:
        if np.count_nonzero(a) == len(a) and np.count_nonzero(b) == len(b):
            return cls(geometry)
        rows, columns = np.flatnonzero(a), np.flatnonzero(b)
        many = len(rows) * len(columns) > COPIED * math.prod(geometry.shape)
        return cls(geometry, None if many and isinstance(geometry, DenseCost) else (rows, columns))

    @property
    def shape(self) -> tuple[int, int]:
        """How many are solved."""
        return self.geometry.shape if self.kept is None else (len(self.kept[0]), len(self.kept[1]))

    def solved(self) -> Geometry:
        """The costs that the core is given."""
        return self.geometry if self.kept is None else self.geometry.subset(*self.kept)

    def own(self, side: int, geometry: Geometry) -> Lines:
        """The lines of one side against themselves."""
        return Lines(geometry, self.kept and (self.kept[side], self.kept[side]))

    def index(self, side: int) -> Index:
        """The lines that are solved, among the caller's."""
        return np.arange(self.geometry.shape[side]) if self.kept is None else self.kept[side]

    def restricted(self, v: Any, side: int) -> Any:
        """What belongs to lines that are solved, of a host array with an entry or row a line."""
        return v if self.kept is None else v[self.kept[side]]

    def start(self, value: Any, name: str, side: int, place: Place) -> Vector:
        """The same of a potential that the caller gives, checked."""
        size = self.geometry.shape[side]
        v: Vector = self.restricted(_validate.potential(value, name, size, place), side)
        return v

    def expanded(self, v: NDArray[Any], side: int) -> NDArray[Any]:
        """The reverse, with zeros."""
        if self.kept is None:
            return v
        out = np.zeros((self.geometry.shape[side], *v.shape[1:]), v.dtype)
        out[self.kept[side]] = v
        return out

    def expanded_rows(self, v: Any, side: int) -> Any:
        """The same of an array where the costs live."""
        if self.kept is None:
            return v
        shape = self.geometry.shape[side], *(int(k) for k in v.shape[1:])
        return self.geometry.place.spread(v, shape, self.kept[side])

    def restricted_matrix(self, P: Any) -> Any:
        """The entries of an (n, m) matrix that are solved, where the costs live."""
        return P if self.kept is None else self.geometry.place.take(P, *self.kept)

    def expanded_matrix(self, P: Any) -> Any:
        """The reverse, with zeros."""
        if self.kept is None:
            return P
        return self.geometry.place.spread(P, self.geometry.shape, *self.kept)

    def expanded_csr(self, P: Any) -> Any:
        """The same of a sparse matrix on the host."""
        import scipy.sparse as sp

        if self.kept is None:
            return P
        begin = np.append(0, np.cumsum(self.expanded(np.diff(P.indptr), 0)))
        column = self.kept[1][P.indices].astype(P.indices.dtype)
        entries = P.data, column, begin.astype(P.indptr.dtype)
        return sp.csr_array(entries, shape=self.geometry.shape)
