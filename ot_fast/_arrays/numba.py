"""Numba's device arrays, which have no arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import NDArray

from .base import Cuda, Index, Vector
from .host import HOST


class Numba(Cuda):
    library = "numba"

    def namespace(self) -> Any:
        raise TypeError(
            "Numba's device arrays have no arithmetic, which losses and gradients of plans need; "
            "wrap them without a copy: cupy.asarray(x) or torch.as_tensor(x)"
        )

    def written_in(self, array: Any) -> int | None:
        stream = array.__cuda_array_interface__.get("stream")
        return None if stream is None else int(stream)

    def cast(self, array: Any, dtype: Any, copy: bool) -> Any:
        if array.dtype == dtype and not copy:
            return array
        return self.put(self.host(array).astype(dtype))

    def contiguous(self, array: Any) -> Any:
        if array.is_c_contiguous():
            return array
        return self.put(np.ascontiguousarray(self.host(array)))

    def host(self, array: Any) -> NDArray[Any]:
        return np.asarray(array.copy_to_host())

    def put(self, array: NDArray[Any]) -> Any:
        return cuda.to_device(array)

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        return cuda.device_array(shape, dtype)

    def take(self, array: Any, rows: Index, columns: Index | None = None) -> Any:
        return self.put(HOST.take(self.host(array), rows, columns))

    def spread(
        self, array: Any, shape: tuple[int, ...], rows: Index, columns: Index | None = None
    ) -> Any:
        return self.put(HOST.spread(self.host(array), shape, rows, columns))

    def box(self, points: Any) -> Vector:
        values = self.host(points)
        return np.stack([values.min(0), values.max(0)]).astype(np.float64)

    def rows(self, points: Any, index: NDArray[np.int64]) -> NDArray[Any]:
        return self.host(points)[index]

    def zero_rows(self, points: Any) -> NDArray[np.bool_]:
        return np.asarray((self.host(points) == 0).all(axis=1))


def place_of(array: Any) -> Numba:
    """Where a device array lives."""
    return Numba(int(cuda.get_current_device().id))
