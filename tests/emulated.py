"""CUDA arrays on an emulated device: NumPy memory that looks like a device's.

With the module ``ot_fast._cuda_emulated`` in place of ``ot_fast._cuda`` the whole path of a CUDA
array runs without a GPU: the kernels' bodies, the bindings and what Python makes of them.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

import numpy as np

from ot_fast import _backends
from ot_fast._arrays import Cuda
from ot_fast._arrays.place import LIBRARIES


class DeviceArray:
    """An array that only its library can read, and compute with."""

    def __init__(self, array, device=0):
        self._array = np.asarray(array)
        self.device = device
        self.shape, self.dtype = self._array.shape, self._array.dtype

    @property
    def __cuda_array_interface__(self):
        return self._array.__array_interface__ | {"version": 3}

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion to a host array")

    __array_ufunc__ = None

    def __len__(self):
        return len(self._array)

    def __float__(self):
        return float(self._array)

    def __bool__(self):
        return bool(self._array)

    @property
    def T(self):
        return DeviceArray(self._array.T, self.device)

    def get(self):
        return self._array.copy()


def on_device(function):
    """A function of NumPy for arrays of one device; those of the host are refused."""

    def call(*args, **options):
        devices = set()

        def inside(value):
            if isinstance(value, (list, tuple)):
                return type(value)(inside(v) for v in value)
            if isinstance(value, DeviceArray):
                devices.add(value.device)
                return value._array
            if isinstance(value, np.ndarray | np.generic):
                raise TypeError(f"a host array in arithmetic on a device: {type(value)}")
            return value

        out = function(*inside(args), **options)
        assert len(devices) == 1, "arrays of two devices"
        return DeviceArray(out, *devices)

    return call


for name in ("add", "sub", "mul", "truediv", "pow", "matmul"):
    for form in ("__{}__", "__r{}__", "__i{}__"):
        method = form.format(name)
        setattr(DeviceArray, method, on_device(getattr(np.ndarray, method)))
for method in ("neg", "gt", "eq", "getitem"):
    method = f"__{method}__"
    setattr(DeviceArray, method, on_device(getattr(np.ndarray, method)))
for method in ("sum", "all", "any", "mean", "reshape"):
    setattr(DeviceArray, method, on_device(getattr(np.ndarray, method)))


class Namespace:
    """The functions of NumPy for arrays of the device."""

    def __getattr__(self, name):
        return on_device(getattr(np, name))


class Counts:
    """What was allocated and is not given back, and what moved between host and device."""

    def __init__(self):
        self.live = self.made = 0
        self.largest = 0  # entries that came to the host, or went to the device, at once
        self.limit = None


@dataclass(frozen=True)
class Emulated(Cuda):
    counts: Counts = field(compare=False, repr=False)
    library = "emulated"

    __repr__ = Cuda.__repr__

    def allocator(self):
        counts = self.counts

        def allocate(size):
            if counts.limit is not None and size > counts.limit:
                raise MemoryError(f"{size} bytes")
            counts.live += 1
            counts.made += 1
            memory = Memory(np.empty(size, np.uint8), counts)
            return memory.data.ctypes.data, memory

        return allocate

    def empty(self, shape, dtype):
        return DeviceArray(np.full(shape, np.nan, dtype), self.device)

    def namespace(self):
        return Namespace()

    def put(self, array):
        self.counts.largest = max(self.counts.largest, array.size)
        return DeviceArray(np.array(array), self.device)

    def host(self, array):
        out = array.get()
        self.counts.largest = max(self.counts.largest, out.size)
        return out

    def cast(self, array, dtype, copy):
        return DeviceArray(array._array.astype(dtype, copy=copy), array.device)

    def contiguous(self, array):
        return DeviceArray(np.ascontiguousarray(array._array), array.device)


class Memory:
    def __init__(self, data, counts):
        self.data, self.counts = data, counts

    def __del__(self):
        self.counts.live -= 1


def available():
    """Why there is no emulated device; empty if there is one."""
    if importlib.util.find_spec("ot_fast._cuda_emulated") is None:
        return "built without the emulated device (OT_FAST_EMULATOR=ON)"
    return ""


def install(monkeypatch):
    """Put the emulated device in place of CUDA; returns its counts."""
    from ot_fast import _cuda_emulated

    counts = Counts()
    monkeypatch.setitem(LIBRARIES, "emulated", lambda array: Emulated(array.device, counts))
    monkeypatch.setattr(DeviceArray, "__module__", "emulated")
    monkeypatch.setattr(_backends, "cuda", lambda: _cuda_emulated)
    return counts


def interface(pointer, shape, dtype, strides, readonly):
    face = {"shape": shape, "typestr": np.dtype(dtype).str, "strides": strides, "version": 3}
    return face | {"data": (pointer, readonly)}


def install_torch(monkeypatch):
    """Let PyTorch's CPU tensors pass for tensors of the emulated device."""
    import torch

    from ot_fast._arrays.torch import Torch

    def face(tensor):
        if tensor.requires_grad:  # as PyTorch does
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")
        v = tensor.numpy()
        return interface(v.ctypes.data, v.shape, v.dtype, v.strides, False)

    class EmulatedTorch(Torch):
        def stream(self):
            return 0

        def unwritten(self, shape, dtype):
            return torch.full(
                [shape] if isinstance(shape, int) else shape,
                float("nan") if dtype.is_floating_point else 255,
                dtype=dtype,
            )

        def put(self, array):
            return torch.tensor(array)

    install(monkeypatch)
    monkeypatch.setitem(LIBRARIES, "torch", lambda tensor: EmulatedTorch(0))
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda v: True), raising=False)
    monkeypatch.setattr(torch.Tensor, "__cuda_array_interface__", property(face))


def install_jax(monkeypatch):
    """Let JAX's CPU arrays pass for arrays of the emulated device."""
    import jax.numpy as jnp

    from ot_fast._arrays.jax import Jax

    def face(v):
        return interface(v.unsafe_buffer_pointer(), v.shape, v.dtype, None, True)

    install(monkeypatch)
    monkeypatch.setitem(LIBRARIES, "jaxlib", lambda array: Jax(0))
    kind = type(jnp.zeros(1))
    monkeypatch.setattr(kind, "__cuda_array_interface__", property(face))
