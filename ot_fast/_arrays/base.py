"""What ot_fast asks of the place where arrays live, whatever library made them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _backends

Vector = NDArray[np.float64]
Index = NDArray[np.int64]


class Place:
    """Host memory, or a CUDA device as one array library sees it.

    Arrays that its methods take live there, and so do arrays that they return, unless "host" is
    said. Places are equal where library and device are.
    """

    cuda: ClassVar[bool] = False
    writable: ClassVar[bool] = False  # whether arrays, once handed out, can be changed

    def where(self, threads: int = 0) -> Any:
        """What the core is told of a call: threads, or (device, stream, allocator)."""
        raise NotImplementedError

    def namespace(self) -> Any:
        """The module whose functions compute with arrays as NumPy's do; TypeError without one."""
        raise NotImplementedError

    def active(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which arrays are made and computed with, in float64 too."""
        return contextlib.nullcontext()

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        """The array in this dtype, without gradients, in the same layout, after pending writes."""
        raise NotImplementedError

    def contiguous(self, array: Any) -> Any:
        """The array in row-major order; itself where it is."""
        raise NotImplementedError

    def host(self, array: Any) -> NDArray[Any]:
        """The array on the host."""
        raise NotImplementedError

    def put(self, array: NDArray[Any]) -> Any:
        """An array of the host, brought here."""
        raise NotImplementedError

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        """An array for the core to write."""
        raise NotImplementedError

    def finished(self, array: Any) -> Any:
        """What `empty` gave, once it is written, as the caller gets it."""
        return array

    def handed_out(self, array: Any) -> Any:
        """An array that is kept, as the caller gets it: no change of that reaches this one."""
        return array

    def take(self, array: Any, rows: Index, columns: Index | None = None) -> Any:
        """These rows of an array, or its entries in these rows and columns: a copy."""
        with self.active():
            i = self.put(rows)
            return array[i] if columns is None else array[i[:, None], self.put(columns)]

    def spread(
        self, array: Any, shape: tuple[int, ...], rows: Index, columns: Index | None = None
    ) -> Any:
        """The reverse of `take`: an array of zeros that has `array` there."""
        xp, sources = self.namespace(), []
        with self.active():
            for axis, index in enumerate((rows,) if columns is None else (rows, columns)):
                zero = xp.zeros_like(array[:1] if axis == 0 else array[:, :1])
                array = xp.concatenate([array, zero], axis)
                source = np.full(shape[axis], len(index))  # the line of zeros
                source[index] = np.arange(len(index))
                sources.append(source)
        return self.take(array, *sources)

    def ldexp(self, array: Any, exponent: int) -> Any:
        """array * 2^exponent, exactly."""
        raise NotImplementedError

    def box(self, points: Any) -> Vector:
        """The least and the largest of every coordinate, (2, d), on the host; NaN if one is."""
        raise NotImplementedError

    def rows(self, points: Any, index: NDArray[np.int64]) -> NDArray[Any]:
        """Some rows, on the host."""
        raise NotImplementedError

    def zero_rows(self, points: Any) -> NDArray[np.bool_]:
        """Which rows are zero, (n,), on the host."""
        raise NotImplementedError

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int]) -> Any:
        """A sparse matrix from host arrays; on the host for libraries that have none."""
        import scipy.sparse as sp

        return sp.csr_array((value, column, begin), shape=shape)

    def dense(self, csr: Any) -> Any:
        """What `csr` gave, as a matrix."""
        return self.put(csr.toarray())

    def linear_operator(self) -> Any:
        """A class with the constructor of scipy.sparse.linalg.LinearOperator."""
        return PlanOperator


@dataclass(frozen=True)
class Cuda(Place):
    """A CUDA device. A library gives the methods that raise here, and those that differ."""

    device: int
    cuda = True
    writable = True
    library: ClassVar[str]

    def __repr__(self) -> str:
        return f"cuda:{self.device} ({self.library})"

    def where(self, threads: int = 0) -> Any:
        return self.device, self.stream(), self.allocator()

    def stream(self) -> int:
        """The current stream as an integer; 0 is the legacy default stream."""
        return 0

    def allocator(self) -> Callable[[int], tuple[int, Any]] | None:
        """Bytes to (pointer, owner); None where the driver is to allocate."""
        return None

    def written_in(self, array: Any) -> int | None:
        """The stream that still writes to an array; None where nothing has to be waited for."""
        return None

    def cast(self, array: Any, dtype: Any, copy: bool) -> Any:
        """As `plain`, of an array without pending writes."""
        raise NotImplementedError

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        stream = self.written_in(array)
        if stream is not None and stream != self.stream():
            _backends.cuda().wait((self.device, stream, None))
        return self.cast(array, dtype, copy)

    def handed_out(self, array: Any) -> Any:
        return self.plain(array, dtype_of(array), copy=True)

    def ldexp(self, array: Any, exponent: int) -> Any:
        half = exponent // 2  # 2^exponent itself may not be a number
        with self.active():
            return self.plain(array * 2.0**half * 2.0 ** (exponent - half), dtype_of(array))

    def box(self, points: Any) -> Vector:
        xp = self.namespace()
        return self.host(xp.stack([xp.amin(points, 0), xp.amax(points, 0)])).astype(np.float64)

    def rows(self, points: Any, index: NDArray[np.int64]) -> NDArray[Any]:
        with self.active():
            return self.host(points[self.put(index)])

    def zero_rows(self, points: Any) -> NDArray[np.bool_]:
        return self.host((points == 0).all(1))


class PlanOperator:
    """``P @ V`` and ``P.T @ V`` for libraries without a LinearOperator of their own."""

    def __init__(
        self, shape: tuple[int, int], matvec: Any, rmatvec: Any, dtype: Any, **_: Any
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._forward, self._backward = matvec, rmatvec

    def __matmul__(self, V: Any) -> Any:
        return self._forward(V)

    @property
    def T(self) -> PlanOperator:
        return PlanOperator(self.shape[::-1], self._backward, self._forward, self.dtype)


def is_bfloat16(array: Any) -> bool:
    """Whether entries are of bfloat16, of any library; NumPy itself has no such dtype."""
    dtype = getattr(array, "dtype", "")
    if isinstance(dtype, np.dtype) and dtype.kind != "V":  # its name takes 10 us
        return False
    return str(dtype).endswith("bfloat16")


def dtype_of(array: Any) -> np.dtype[Any]:
    """The NumPy dtype of an array of any library."""
    if isinstance(array.dtype, np.dtype) and array.dtype.kind != "V":
        return array.dtype
    text = str(array.dtype).split(".")[-1]
    try:
        return np.dtype({"bfloat16": "float32"}.get(text, text))
    except TypeError:
        raise TypeError(f"unknown dtype {array.dtype}") from None
