"""CUDA arrays on an emulated device: NumPy memory that looks like a device's.

With the module ``ot_fast._cuda_emulated`` in place of ``ot_fast._cuda`` the whole path of a CUDA
array runs without a GPU: the kernels' bodies, the bindings and what Python makes of them.
"""

from __future__ import annotations

import numpy as np

from ot_fast import _arrays, _backends


class DeviceArray:
    """An array that only its library can read."""

    def __init__(self, array, device=0):
        self._array = np.asarray(array)
        self.device = device
        self.shape, self.dtype = self._array.shape, self._array.dtype

    @property
    def __cuda_array_interface__(self):
        return self._array.__array_interface__ | {"version": 3}

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion to a host array")

    def __getitem__(self, key):
        return DeviceArray(self._array[key], self.device)

    def __mul__(self, factor):
        return DeviceArray(self._array * factor, self.device)

    @property
    def T(self):
        return DeviceArray(self._array.T, self.device)

    def get(self):
        return self._array.copy()


class Emulated(_arrays.Library):
    """Counts what is allocated, and that all of it is given back."""

    name = "emulated"

    def __init__(self):
        self.live = self.made = 0
        self.limit = None

    def device(self, array):
        return array.device

    def allocator(self, device):
        def allocate(size):
            if self.limit is not None and size > self.limit:
                raise MemoryError(f"{size} bytes")
            self.live += 1
            self.made += 1
            memory = Memory(np.empty(size, np.uint8), self)
            return memory.data.ctypes.data, memory

        return allocate

    def empty(self, shape, dtype, device):
        return DeviceArray(np.full(shape, np.nan, dtype), device)

    def put(self, array, device):
        return DeviceArray(np.array(array), device)

    def host(self, array):
        return array.get()

    def plain(self, array, dtype, *, copy=False):
        return DeviceArray(array._array.astype(dtype, copy=copy), array.device)

    def contiguous(self, array):
        return DeviceArray(np.ascontiguousarray(array._array), array.device)


class Memory:
    def __init__(self, data, library):
        self.data, self.library = data, library

    def __del__(self):
        self.library.live -= 1


def install(monkeypatch):
    """Put the emulated device in place of CUDA; returns its library."""
    from ot_fast import _cuda_emulated

    library = Emulated()
    monkeypatch.setitem(_arrays.LIBRARIES, "emulated", library)
    monkeypatch.setattr(DeviceArray, "__module__", "emulated")
    monkeypatch.setattr(_backends, "cuda", lambda: _cuda_emulated)
    return library
