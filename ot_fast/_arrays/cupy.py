"""CuPy arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray

from .base import Cuda


class Cupy(Cuda):
    library = "cupy"

    def active(self) -> contextlib.AbstractContextManager[Any]:
        return cupy.cuda.Device(self.device)  # type: ignore[no-any-return]

    def stream(self) -> int:
        return int(cupy.cuda.get_current_stream(self.device).ptr)

    def allocator(self) -> Callable[[int], tuple[int, Any]]:
        def allocate(size: int) -> tuple[int, Any]:
            with self.active():
                memory = cupy.cuda.alloc(size)
            return memory.ptr, memory

        return allocate

    def namespace(self) -> Any:
        return cupy

    def cast(self, array: Any, dtype: Any, copy: bool) -> Any:
        with self.active():
            return array.astype(dtype, copy=copy)

    def contiguous(self, array: Any) -> Any:
        with self.active():
            return cupy.ascontiguousarray(array)

    def host(self, array: Any) -> NDArray[Any]:
        return np.asarray(array.get())

    def put(self, array: NDArray[Any]) -> Any:
        with self.active():
            return cupy.asarray(array)

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        with self.active():
            return cupy.empty(shape, dtype)

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int]) -> Any:
        from cupyx.scipy import sparse

        parts = tuple(self.put(v) for v in (value, column, begin))
        with self.active():
            return sparse.csr_matrix(parts, shape=shape)

    def dense(self, csr: Any) -> Any:
        with self.active():
            return csr.toarray()

    def linear_operator(self) -> Any:
        from cupyx.scipy.sparse.linalg import LinearOperator

        return LinearOperator


def place_of(array: Any) -> Cupy:
    """Where a CuPy array lives."""
    return Cupy(int(array.device.id))
