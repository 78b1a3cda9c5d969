"""Where an array lives, and how it becomes what the core takes."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Cuda, Place, dtype_of
from .host import HOST


def _library(name: str) -> Callable[[Any], Place]:
    """`place_of` of a library's file, which is imported with the first of its arrays."""
    return lambda array: importlib.import_module(f"{__package__}.{name}").place_of(array)


# The top module of an array's type, and where such an array lives.
LIBRARIES = {name: _library(name) for name in ("cupy", "torch", "jax", "numba")}
LIBRARIES["jaxlib"] = LIBRARIES["jax"]


def is_cuda(value: Any) -> bool:
    """Whether a value is a CUDA array; tensors that require gradients included."""
    if isinstance(value, np.ndarray):
        return False
    if getattr(value, "is_cuda", False) is True:
        return True
    with contextlib.suppress(Exception):
        return hasattr(value, "__cuda_array_interface__")
    return False


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
    return library(value)


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


def check_unmasked(value: Any, name: str, remedy: str) -> None:
    """ValueError for a masked array, or a list of them, with a masked entry."""
    if type(value) is np.ndarray:
        return
    parts = value if isinstance(value, list | tuple) else (value,)
    masks = [np.ma.getmaskarray(v) for v in parts if isinstance(v, np.ma.MaskedArray)]
    count = sum(np.count_nonzero(mask) for mask in masks)
    if count:
        raise ValueError(
            f"{name} is a masked array ({count} of {sum(np.size(v) for v in parts)} entries "
            f"masked), which would be read as if unmasked; {remedy}"
        )


def on_device(value: Any, name: str, place: Cuda) -> Any:
    """An array of `place` as native floats, in its layout; itself where it is one."""
    check_place(value, name, place)
    dtype = dtype_of(value)
    check_real(dtype, name)
    with place.active():
        return place.plain(value, float_dtype(dtype))


def to_numpy(
    value: Any, name: str, place: Place = HOST, *, masked: str = "fill the masked entries"
) -> NDArray[Any]:
    """A NumPy view or copy of anything array-like that lives in `place`.

    `masked` is the remedy that the error for a masked array names.
    """
    check_place(value, name, place)
    if place.cuda:
        value = place.host(value)
    if getattr(value, "requires_grad", False):
        value = value.detach()
    check_unmasked(value, name, masked)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    except TypeError as error:
        raise TypeError(f"{name} must be a real array: {error}") from None
    if array.dtype == object and array.ndim == 0:  # no sequence at all: a sparse matrix, a result
        raise TypeError(f"{name} must be a real array; got {type(value).__name__}")
    check_real(array.dtype, name)
    return array


def as_float(array: NDArray[Any]) -> NDArray[Any]:
    """Native float32 (from float16, float32) or float64 (all else), without a copy if possible."""
    wanted = float_dtype(array.dtype)
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore"):
        return array.astype(wanted, copy=False)


def float_dtype(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    """float32 for float16 and float32, else float64."""
    return np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64


def byte_strides(array: Any) -> tuple[int, ...]:
    """Strides of a CUDA array in bytes."""
    face = array.__cuda_array_interface__
    strides, shape = face.get("strides"), face["shape"]
    if strides is not None:
        return tuple(strides)
    out: list[int] = []
    step = np.dtype(face["typestr"]).itemsize
    for size in reversed(shape):
        out.insert(0, step)
        step *= size
    return tuple(out)
