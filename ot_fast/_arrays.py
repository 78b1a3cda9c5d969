"""Arrays of other libraries: where they live, and how they become what the core takes.

A problem lives in one place, that of its costs: :data:`HOST`, or a CUDA device as one library sees
it. Solves leave matrices of size n x m, points and gradients there; vectors of length n and m are
handled on the host. Arithmetic on arrays is written once, over the functions that NumPy and its
likes share (`namespace` of a place).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _backends

Vector = NDArray[np.float64]


class Library:
    """What a CUDA array library is asked for. Arrays are of this library, on `device`."""

    name = ""

    def device(self, array: Any) -> int:
        raise NotImplementedError

    def stream(self, device: int) -> int:
        """The current stream as an integer; 0 is the legacy default stream."""
        return 0

    def namespace(self) -> Any:
        """The module whose functions compute with arrays, as NumPy's do."""
        raise NotImplementedError

    def active(self, device: int) -> contextlib.AbstractContextManager[Any]:
        """What arithmetic on this device, in float64 too, runs in."""
        return contextlib.nullcontext()

    def written_in(self, array: Any) -> int | None:
        """The stream that still writes to an array; None where nothing has to be waited for."""
        return None

    def allocator(self, device: int) -> Callable[[int], tuple[int, Any]] | None:
        """Bytes to (pointer, owner); None where the driver is to allocate."""
        return None

    def empty(self, shape: tuple[int, int], dtype: Any, device: int) -> Any:
        raise NotImplementedError

    def finished(self, array: Any, device: int) -> Any:
        """What `empty` gave, once it is written, as the caller gets it."""
        return array

    def put(self, array: NDArray[Any], device: int) -> Any:
        raise NotImplementedError

    def host(self, array: Any) -> NDArray[Any]:
        raise NotImplementedError

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        """Of this dtype and without gradients, in the same layout."""
        raise NotImplementedError

    def contiguous(self, array: Any) -> Any:
        raise NotImplementedError

    def box(self, points: Any) -> NDArray[Any]:
        """The least and the largest of every coordinate, (2, d), on the host; NaN if one is."""
        xp = self.namespace()
        return self.host(xp.stack([xp.amin(points, 0), xp.amax(points, 0)]))

    def zero_rows(self, points: Any) -> NDArray[np.bool_]:
        """Which rows are zero, (n,), on the host."""
        return self.host((points == 0).all(1))

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int], device: int) -> Any:
        """A sparse matrix from host arrays."""
        import scipy.sparse as sp

        return sp.csr_array((value, column, begin), shape=shape)

    def dense(self, csr: Any, device: int) -> Any:
        """What `csr` gave, as a matrix."""
        return self.put(csr.toarray(), device)


class Cupy(Library):
    name = "cupy"

    def device(self, array: Any) -> int:
        return int(array.device.id)

    def stream(self, device: int) -> int:
        import cupy

        return int(cupy.cuda.get_current_stream(device).ptr)

    def namespace(self) -> Any:
        import cupy

        return cupy

    def active(self, device: int) -> contextlib.AbstractContextManager[Any]:
        import cupy

        return cupy.cuda.Device(device)  # type: ignore[no-any-return]

    def allocator(self, device: int) -> Callable[[int], tuple[int, Any]]:
        import cupy

        def allocate(size: int) -> tuple[int, Any]:
            with cupy.cuda.Device(device):
                memory = cupy.cuda.alloc(size)
            return memory.ptr, memory

        return allocate

    def empty(self, shape: tuple[int, int], dtype: Any, device: int) -> Any:
        import cupy

        with cupy.cuda.Device(device):
            return cupy.empty(shape, dtype)

    def put(self, array: NDArray[Any], device: int) -> Any:
        import cupy

        with cupy.cuda.Device(device):
            return cupy.asarray(array)

    def host(self, array: Any) -> NDArray[Any]:
        return array.get()  # type: ignore[no-any-return]

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        with array.device:
            return array.astype(dtype, copy=copy)

    def contiguous(self, array: Any) -> Any:
        import cupy

        with array.device:
            return cupy.ascontiguousarray(array)

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int], device: int) -> Any:
        import cupy
        from cupyx.scipy import sparse

        parts = tuple(self.put(v, device) for v in (value, column, begin))
        with cupy.cuda.Device(device):
            return sparse.csr_matrix(parts, shape=shape)

    def dense(self, csr: Any, device: int) -> Any:
        import cupy

        with cupy.cuda.Device(device):
            return csr.toarray()


class Torch(Library):
    name = "torch"

    def device(self, array: Any) -> int:
        return int(array.device.index)

    def stream(self, device: int) -> int:
        import torch

        return int(torch.cuda.current_stream(device).cuda_stream)

    def namespace(self) -> Any:
        import torch

        return torch

    @contextlib.contextmanager
    def active(self, device: int) -> Iterator[None]:
        import torch

        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None

    def allocator(self, device: int) -> Callable[[int], tuple[int, Any]]:
        def allocate(size: int) -> tuple[int, Any]:
            memory = self._empty(size, "uint8", device)
            return memory.data_ptr(), memory

        return allocate

    def _empty(self, shape: Any, dtype: str, device: int) -> Any:
        import torch

        with self.active(device):
            return torch.empty(shape, dtype=getattr(torch, dtype), device=f"cuda:{device}")

    def empty(self, shape: tuple[int, int], dtype: Any, device: int) -> Any:
        return self._empty(shape, np.dtype(dtype).name, device)

    def put(self, array: NDArray[Any], device: int) -> Any:
        import torch

        return torch.as_tensor(np.ascontiguousarray(array), device=f"cuda:{device}")

    def host(self, array: Any) -> NDArray[Any]:
        return array.detach().cpu().numpy()  # type: ignore[no-any-return]

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        import torch

        return array.detach().to(getattr(torch, np.dtype(dtype).name), copy=copy)

    def contiguous(self, array: Any) -> Any:
        return array.contiguous()

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int], device: int) -> Any:
        import torch

        index = (begin.astype(np.int64), column.astype(np.int64))
        parts = [self.put(v, device) for v in (*index, value)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it calls its CSR support a beta
            return torch.sparse_csr_tensor(*parts, size=shape)

    def dense(self, csr: Any, device: int) -> Any:
        return csr.to_dense()


class Jax(Library):
    """JAX arrays are never written to: results are made on the host side of the driver and put."""

    name = "jax"

    def device(self, array: Any) -> int:
        (device,) = array.devices()
        return int(device.local_hardware_id or 0)

    def namespace(self) -> Any:
        import jax.numpy

        return jax.numpy

    def active(self, device: int) -> contextlib.AbstractContextManager[Any]:
        try:
            from jax import enable_x64
        except ImportError:  # older ones
            from jax.experimental import enable_x64

        return enable_x64(True)  # type: ignore[no-any-return]

    def empty(self, shape: tuple[int, int], dtype: Any, device: int) -> Any:
        return _backends.cuda().Array(*shape, np.dtype(dtype) == np.float64, (device, 0, None))

    def finished(self, array: Any, device: int) -> Any:
        return self.put(array.host(), device)

    def put(self, array: NDArray[Any], device: int) -> Any:
        import jax

        found = [d for d in jax.local_devices() if (d.local_hardware_id or 0) == device]
        return jax.device_put(array, found[0])

    def host(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        array = array.astype(dtype)
        array.block_until_ready()
        return array

    def contiguous(self, array: Any) -> Any:
        return array


class Numba(Library):
    name = "numba"

    def device(self, array: Any) -> int:
        from numba import cuda

        return int(cuda.get_current_device().id)

    def namespace(self) -> Any:
        raise TypeError(
            "Numba's device arrays have no arithmetic, which losses and gradients of plans need; "
            "wrap them without a copy: cupy.asarray(x) or torch.as_tensor(x)"
        )

    def written_in(self, array: Any) -> int | None:
        stream = array.__cuda_array_interface__.get("stream")
        return None if stream is None else int(stream)

    # Checks of points, without arithmetic on the device.
    def box(self, points: Any) -> NDArray[Any]:
        values = self.host(points)
        return np.stack([values.min(0), values.max(0)])

    def zero_rows(self, points: Any) -> NDArray[np.bool_]:
        return HOST.zero_rows(self.host(points))

    def empty(self, shape: tuple[int, int], dtype: Any, device: int) -> Any:
        from numba import cuda

        return cuda.device_array(shape, dtype)

    def put(self, array: NDArray[Any], device: int) -> Any:
        from numba import cuda

        return cuda.to_device(array)

    def host(self, array: Any) -> NDArray[Any]:
        return array.copy_to_host()  # type: ignore[no-any-return]

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        if array.dtype == dtype and not copy:
            return array
        return self.put(self.host(array).astype(dtype), 0)

    def contiguous(self, array: Any) -> Any:
        return (
            array
            if array.is_c_contiguous()
            else self.put(np.ascontiguousarray(self.host(array)), 0)
        )


LIBRARIES: dict[str, Library] = {lib.name: lib for lib in (Cupy(), Torch(), Jax(), Numba())}
LIBRARIES["jaxlib"] = LIBRARIES["jax"]


class Host:
    """Host memory, as NumPy sees it."""

    cuda = False

    def __repr__(self) -> str:
        return "host memory"

    def where(self, threads: int = 0) -> Any:
        """What the core is told of a call: the number of threads."""
        return threads

    def host(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def put(self, array: NDArray[Any]) -> Any:
        return array

    def namespace(self) -> Any:
        return np

    def active(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        return array.astype(dtype, copy=copy)

    def contiguous(self, array: Any) -> Any:
        return np.ascontiguousarray(array)

    def ldexp(self, array: Any, power: int) -> Any:
        return np.ldexp(array, power)

    def box(self, points: NDArray[Any]) -> Vector:
        return _backends.core.bounds(points)

    def zero_rows(self, points: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray((points == 0).all(axis=1))

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        return np.empty(shape, dtype)

    def finished(self, array: Any) -> Any:
        return array

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int]) -> Any:
        import scipy.sparse as sp

        return sp.csr_array((value, column, begin), shape=shape)

    def dense(self, csr: Any) -> Any:
        return csr.toarray()


@dataclass(frozen=True)
class Cuda:
    """A CUDA device, as one array library sees it."""

    library: Library
    device: int
    cuda = True

    def __repr__(self) -> str:
        return f"cuda:{self.device} ({self.library.name})"

    def where(self, threads: int = 0) -> Any:
        """What the core is told of a call: device, current stream, allocator."""
        lib, device = self.library, self.device
        return device, lib.stream(device), lib.allocator(device)

    def host(self, array: Any) -> NDArray[Any]:
        return self.library.host(array)

    def put(self, array: NDArray[Any]) -> Any:
        return self.library.put(array, self.device)

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        return self.library.empty(shape, dtype, self.device)

    def finished(self, array: Any) -> Any:
        return self.library.finished(array, self.device)

    def namespace(self) -> Any:
        """The functions that compute with arrays; TypeError where the library has none."""
        return self.library.namespace()

    def active(self) -> contextlib.AbstractContextManager[Any]:
        """What arithmetic on arrays runs in."""
        return self.library.active(self.device)

    def plain(self, array: Any, dtype: Any, *, copy: bool = False) -> Any:
        """Of this dtype and without gradients, in the same layout, and written."""
        stream = self.library.written_in(array)
        if stream is not None and stream != self.library.stream(self.device):
            _backends.cuda().wait((self.device, stream, None))
        return self.library.plain(array, dtype, copy=copy)

    def contiguous(self, array: Any) -> Any:
        return self.library.contiguous(array)

    def ldexp(self, array: Any, power: int) -> Any:
        """array * 2^power, exactly."""
        half = power // 2  # 2^power itself may not be a number
        with self.active():
            return self.plain(array * 2.0**half * 2.0 ** (power - half), dtype_of(array))

    def box(self, points: Any) -> Vector:
        """The least and the largest of every coordinate, (2, d), on the host; NaN if one is."""
        return self.library.box(points).astype(np.float64)

    def zero_rows(self, points: Any) -> NDArray[np.bool_]:
        """Which rows are zero, (n,), on the host."""
        return self.library.zero_rows(points)

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int]) -> Any:
        return self.library.csr(begin, column, value, shape, self.device)

    def dense(self, csr: Any) -> Any:
        return self.library.dense(csr, self.device)


HOST = Host()
Place = Host | Cuda


def place_of(value: Any, name: str) -> Place:
    """Where an array lives."""
    if not is_cuda(value):
        return HOST
    modules = [kind.__module__.split(".")[0] for kind in type(value).__mro__]
    library = next((LIBRARIES[m] for m in modules if m in LIBRARIES), None)
    if library is None:
        raise TypeError(
            f"{name} is a CUDA array of {modules[0]}; ot_fast takes those of CuPy, PyTorch, JAX "
            "and Numba"
        )
    return Cuda(library, library.device(value))


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


def linear_operator(place: Place) -> Any:
    """The class of linear operators of a place."""
    if isinstance(place, Host):
        from scipy.sparse.linalg import LinearOperator

        return LinearOperator
    if place.library.name == "cupy":
        from cupyx.scipy.sparse.linalg import LinearOperator as CupyOperator

        return CupyOperator
    return PlanOperator


def is_cuda(value: Any) -> bool:
    """Whether a value is a CUDA array; tensors that require gradients included."""
    if getattr(value, "is_cuda", False) is True:
        return True
    with contextlib.suppress(Exception):
        return hasattr(value, "__cuda_array_interface__")
    return False


def dtype_of(value: Any) -> np.dtype[Any]:
    """The NumPy dtype of an array of any library."""
    if isinstance(value.dtype, np.dtype) and value.dtype.kind != "V":
        return value.dtype
    text = str(value.dtype).split(".")[-1]
    try:
        return np.dtype({"bfloat16": "float32"}.get(text, text))
    except TypeError:
        raise TypeError(f"unknown dtype {value.dtype}") from None


def byte_strides(value: Any) -> tuple[int, ...]:
    """Strides of a CUDA array in bytes."""
    face = value.__cuda_array_interface__
    strides, shape = face.get("strides"), face["shape"]
    if strides is not None:
        return tuple(strides)
    out: list[int] = []
    step = np.dtype(face["typestr"]).itemsize
    for size in reversed(shape):
        out.insert(0, step)
        step *= size
    return tuple(out)


def check_place(value: Any, name: str, place: Place) -> None:
    """TypeError where an array does not live in `place`."""
    if value is None:
        raise TypeError(f"{name} must be a real array; got None")
    here = place_of(value, name)
    if here != place:
        what = f"{type(value).__module__}.{type(value).__name__}"
        raise TypeError(
            f"{name} ({what}) lives in {here} and the problem in {place}: nothing is moved between "
            "devices by itself; convert one of them"
        )


def check_real(dtype: np.dtype[Any], name: str) -> None:
    """TypeError for a dtype that does not hold real numbers."""
    if dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold real numbers; its dtype is {dtype}"
            + (" (take its real part first)" if dtype.kind == "c" else "")
        )


def on_device(value: Any, name: str, place: Cuda) -> Any:
    """An array of `place` as native floats, in its layout; itself where it is one."""
    check_place(value, name, place)
    dtype = dtype_of(value)
    check_real(dtype, name)
    with place.active():
        return place.plain(value, float_dtype(dtype))


def to_numpy(value: Any, name: str, place: Place = HOST) -> NDArray[Any]:
    """A NumPy view or copy of anything array-like that lives in `place`."""
    check_place(value, name, place)
    if isinstance(place, Cuda):
        value = place.host(value)
    if getattr(value, "requires_grad", False):
        value = value.detach()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    except TypeError as error:
        raise TypeError(f"{name} must be a real array: {error}") from None
    check_real(array.dtype, name)
    return array


def as_float(array: NDArray[Any]) -> NDArray[Any]:
    """Native float32 (from float16, float32) or float64 (all else), without a copy if possible."""
    with np.errstate(over="ignore"):
        return array.astype(float_dtype(array.dtype), copy=False)


def float_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """float32 for float16 and float32, else float64."""
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64
