"""Host memory: NumPy arrays, and what NumPy can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _backends
from .base import Place, Vector


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

    def ldexp(self, array: Any, exponent: int) -> Any:
        return np.ldexp(array, exponent)

    def box(self, points: NDArray[Any]) -> Vector:
        return _backends.core.bounds(points)

    def zero_rows(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((points == 0).all(axis=1))

    def linear_operator(self) -> Any:
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator


HOST = Host()
