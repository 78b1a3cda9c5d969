"""Where an array lives, and how it becomes what the core takes."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, ValuesView
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Cuda, Place, dtype_of, is_bfloat16
from .host import HOST

Remedies = tuple[str, str]  # for masked entries, for missing values of pandas
FILL: Remedies = ("fill the masked entries", "fill the missing values")


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
        numbers = f"pass np.asarray({name}, dtype=float) if its entries are numbers"
        remedy = {"c": "take its real part first"} | dict.fromkeys("OSU", numbers)
        if dtype.kind == "V":
            remedy["V"] = "take one of its fields" if dtype.names else "convert it to float32"
        hint = f" ({remedy[dtype.kind]})" if dtype.kind in remedy else ""
        raise TypeError(f"{name} must hold real numbers; its dtype is {dtype}{hint}")


def check_complete(value: Any, name: str, missing: Remedies) -> None:
    """ValueError for a masked array, a list of them or a pandas object with missing entries."""
    parts = value if isinstance(value, list | tuple) else (value,)
    masks = [np.ma.getmaskarray(v) for v in parts if isinstance(v, np.ma.MaskedArray)]
    count = sum(np.count_nonzero(mask) for mask in masks)
    if count:
        raise ValueError(
            f"{name} is a masked array ({count} of {sum(np.size(v) for v in parts)} entries "
            f"masked), which would be read as if unmasked; {missing[0]}"
        )
    if hasattr(value, "isna"):
        lost = np.asarray(value.isna())
        if lost.any():
            raise ValueError(
                f"{name} has missing values ({np.count_nonzero(lost)} of {lost.size} entries); "
                f"{missing[1]}"
            )


def on_device(value: Any, name: str, place: Cuda) -> Any:
    """An array of `place` as native floats, in its layout; itself where it is one."""
    check_place(value, name, place)
    dtype = dtype_of(value)
    check_real(dtype, name)
    with place.active():
        return place.plain(value, float_dtype(dtype))


def to_numpy(
    value: Any, name: str, place: Place = HOST, *, missing: Remedies = FILL
) -> NDArray[Any]:
    """A NumPy view or copy of anything array-like that lives in `place`.

    `missing` holds the remedies that errors name: for a masked array, and for pandas.
    """
    check_place(value, name, place)
    if place.cuda:
        value = place.host(value)
    if type(value) is not np.ndarray:
        check_complete(value, name, missing)
        array = _read(value, name)
        check_complete(array, name, missing)
        value = np.asarray(array)
    if is_bfloat16(value):
        value = value.astype(np.float32)
    check_real(value.dtype, name)
    return value  # type: ignore[no-any-return]


def _read(value: Any, name: str) -> NDArray[Any]:
    """What NumPy makes of a value that is no plain array; masked where the value says so."""
    if hasattr(value, "nnz") and hasattr(value, "toarray"):
        raise TypeError(
            f"{name} must be a real array; got {type(value).__name__}, a sparse matrix: pass "
            f"{name}.toarray(), where entries that are not stored are 0"
        )
    if hasattr(value, "detach"):  # a tensor; NumPy has no bfloat16
        value = value.detach()
        value = value.float() if is_bfloat16(value) else value
    try:
        array: NDArray[Any] = np.asanyarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of numbers: {error}") from None
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} must be a real array: {error}") from None
    if array.dtype != object:
        return array
    if array.ndim == 0:  # no sequence at all: a generator, a result
        again = isinstance(value, Iterator | ValuesView)
        hint = f": pass list({name})" if again else ""
        raise TypeError(f"{name} must be a real array; got {type(value).__name__}{hint}")
    return _from_columns(value) if hasattr(value, "isna") else array


def _from_columns(value: Any) -> NDArray[Any]:
    """A pandas object without missing values, whose nullable or Arrow columns NumPy takes for
    objects: as numbers, where all its columns are.
    """
    dtypes = list(value.dtypes) if value.ndim == 2 else [value.dtype]
    numbers = all(dtype.kind in "fiub" for dtype in dtypes)
    plain = [getattr(dtype, "numpy_dtype", dtype) for dtype in dtypes]
    return np.asarray(value.to_numpy(dtype=np.result_type(*plain) if numbers else object))


def as_float(array: NDArray[Any]) -> NDArray[Any]:
    """Native float32 (from float16, float32) or float64 (all else), without a copy if possible.

    What is beyond float64 becomes infinite.
    """
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
