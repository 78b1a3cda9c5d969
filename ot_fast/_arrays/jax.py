"""JAX arrays on a CUDA device.

They are never written to: the core writes memory of the driver, which is copied.
"""

from __future__ import annotations

import contextlib
from typing import Any

import jax
import jax.numpy
import numpy as np
from numpy.typing import NDArray

from .. import _backends
from .base import Cuda


class Jax(Cuda):
    library = "jax"
    writable = False

    def active(self) -> contextlib.AbstractContextManager[Any]:
        try:
            from jax import enable_x64
        except ImportError:  # before 0.8
            from jax.experimental import enable_x64

        return enable_x64(True)  # type: ignore[no-any-return]

    def handed_out(self, array: Any) -> Any:
        return array

    def namespace(self) -> Any:
        return jax.numpy

    def cast(self, array: Any, dtype: Any, copy: bool) -> Any:
        array = array.astype(dtype)
        array.block_until_ready()
        return array

    def contiguous(self, array: Any) -> Any:
        return array

    def host(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def put(self, array: NDArray[Any]) -> Any:
        found = [d for d in jax.local_devices() if (d.local_hardware_id or 0) == self.device]
        return jax.device_put(array, found[0])

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        double = np.dtype(dtype) == np.float64
        return _backends.cuda().Array(*shape, double, (self.device, 0, None))

    def finished(self, array: Any) -> Any:
        return self.put(array.host())


def place_of(array: Any) -> Jax:
    """Where a JAX array lives."""
    (device,) = array.devices()
    return Jax(int(device.local_hardware_id or 0))
