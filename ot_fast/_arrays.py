"""Arrays of other libraries: what they are, and how they become NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_numpy(value: Any, name: str) -> NDArray[Any]:
    """A NumPy view or copy of anything array-like that lives in host memory."""
    if value is None:
        raise TypeError(f"{name} must be a real array; got None")
    if hasattr(value, "__cuda_array_interface__"):
        raise TypeError(
            f"{name} is a CUDA array ({type(value).__module__}.{type(value).__name__}), and this "
            f"build of ot_fast has no CUDA module; pass a host array"
        )
    if getattr(value, "requires_grad", False):
        value = value.detach()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    except TypeError as error:
        raise TypeError(f"{name} must be a real array: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must hold real numbers; its dtype is {array.dtype}"
            + (" (take its real part first)" if array.dtype.kind == "c" else "")
        )
    return array


def as_float(array: NDArray[Any]) -> NDArray[Any]:
    """Native float32 (from float16, float32) or float64 (all else), without a copy if possible."""
    single = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    with np.errstate(over="ignore"):
        return array.astype(np.float32 if single else np.float64, copy=False)
