"""Host memory: NumPy arrays, and what NumPy can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _backends
from .base import Index, Place, Vector

TAKEN = 1 << 18  # entries of whole rows copied together, before columns are taken from them


@dataclass(frozen=True)
class Host(Place):
    """Host memory."""

    def __repr__(self) -> str:
        return "host memory"

    def where(self, threads: int = 0) -> Any:
        return threads

    def namespace(self) -> Any:
        return np

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        return array.astype(dtype, copy=copy)

    def contiguous(self, array: Any) -> Any:
        return np.ascontiguousarray(array)

    def host(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def put(self, array: NDArray[Any]) -> Any:
        return array

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def take(self, array: Any, rows: Index, columns: Index | None = None) -> Any:
        if columns is None:
            return array[rows]
        if abs(array.strides[0]) < abs(array.strides[1]):  # column-major
            return self.take(array.T, columns, rows).T
        out = np.empty((len(rows), len(columns)), array.dtype)
        step = max(1, TAKEN // array.shape[1])
        for k in range(0, len(rows), step):
            array[rows[k : k + step]].take(columns, 1, out[k : k + step], "clip")
        return out

    def spread(
        self, array: Any, shape: tuple[int, ...], rows: Index, columns: Index | None = None
    ) -> Any:
        out = np.zeros(shape, array.dtype)
        out[rows if columns is None else np.ix_(rows, columns)] = array
        return out

    def ldexp(self, array: Any, exponent: int) -> Any:
        return np.ldexp(array, exponent)

    def box(self, points: NDArray[Any]) -> Vector:
        return _backends.core.bounds(points)

    def rows(self, points: Any, index: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(points[index])

    def zero_rows(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((points == 0).all(axis=1))

    def linear_operator(self) -> Any:
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator


HOST = Host()
