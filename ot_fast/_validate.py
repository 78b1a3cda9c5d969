"""Checks of everything that comes in, once, before any work.

A message names the argument, the rule, the offending value and its index, and the remedy.
"""

from __future__ import annotations

import contextlib
import math
import numbers
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._arrays import HOST, Cuda, Place, as_float, is_bfloat16, on_device, to_numpy
from ._backends import core_of

Vector = NDArray[np.float64]
UNKNOWN = 1 << 62  # bytes, where a system does not state a limit
# Weights below this part of their sum count as 0. Kept, they underflow in every pass: 9 solves with
# Dirichlet(.01) weights stalled at reg 1e-6 to 1e-4 of the costs, of which 7 converge without them.
NEGLIGIBLE = 1e-18


def real(value: Any, name: str, *, positive: bool) -> float:
    """A finite float, > 0 or >= 0."""
    if type(value) is float and 0 < value < math.inf:
        return value
    rule = f"{name} must be a finite real number {'> 0' if positive else '>= 0'}"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, bool) or not isinstance(value, numbers.Real | np.floating | np.integer):
        raise TypeError(f"{rule}; got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:  # an int or a Fraction above the largest float
        number = math.inf
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(f"{rule}; got {value!r}")
    return number


def integer(value: Any, name: str, *, least: int, most: int = 2**63 - 1) -> int:
    """An int from `least` to `most`, by default the largest of the core."""
    if type(value) is int and least <= value <= most:
        return value
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer >= {least}; got {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be an integer >= {least}; got {value}")
    if value > most:
        raise ValueError(f"{name} must be an integer <= {most}; got {value}")
    return int(value)


def fraction(value: Any, name: str) -> float:
    """A float in (0, 1]."""
    number = real(value, name, positive=True)
    if number > 1:
        raise ValueError(f"{name} must be a fraction in (0, 1]; got {value!r}")
    return number


def choice(value: Any, name: str, options: tuple[str, ...]) -> str:
    """One of a few strings."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {options}; got {type(value).__name__}")
    if value not in options:
        raise ValueError(f"{name} must be one of {options}; got {value!r}")
    return value


def no_threads(count: int, name: str, place: Place) -> None:
    """ValueError for a number of threads where the problem is on a device."""
    if count and place.cuda:
        raise ValueError(f"threads is for host arrays; {name} lives in {place}: leave it out")


def _first(mask: NDArray[np.bool_]) -> tuple[int, int]:
    index = int(np.argmax(mask))
    return index, int(np.count_nonzero(mask))


def _filled(name: str, value: str, effect: str) -> tuple[str, str]:
    """What to do about missing entries: of a masked array, and of pandas."""
    masked, nullable = (f"pass {name}.{fill}({value}) {effect}" for fill in ("filled", "fillna"))
    return masked, nullable


def _doubles(array: NDArray[Any]) -> Vector:
    """A float64 copy, infinite beyond the range of float64."""
    with np.errstate(over="ignore"):
        return np.array(array, dtype=np.float64)


def weights(
    value: Any, name: str, size: int, place: Place = HOST, other: int = 0
) -> tuple[Vector, float]:
    """Nonnegative float64 weights of the given size, and the rounding of their sum, relative.

    Those below NEGLIGIBLE become 0. `other` is the size of the other marginal.
    """
    missing = _filled(name, "0", "to give those entries no mass")
    array = to_numpy(value, name, place, missing=missing)
    if array.shape != (size,):
        hint = ""
        if array.shape == (other,):
            hint = "; it fits the other marginal: pass C.T, or a and b the other way round"
        elif array.size == size == max(array.shape, default=0):
            hint = f"; pass np.ravel({name})"
        raise ValueError(f"{name} must have shape ({size},) to match C; got {array.shape}{hint}")
    out = _doubles(array)
    bad = ~(np.isfinite(out) & (out >= 0))
    if bad.any():
        k, count = _first(bad)
        raise ValueError(
            f"{name} must be finite and >= 0; {name}[{k}] = {array[k]!s} "
            f"({count} of {size} entries)"
        )
    with np.errstate(over="ignore"):
        total = float(out.sum())
    if not 0 < total < math.inf:
        raise ValueError(f"{name} must have a positive, finite sum; its sum is {total}")
    out[out < NEGLIGIBLE * total] = 0
    return out, rounding_of(value, array, total / size)


def rounding_of(value: Any, array: NDArray[Any], mean: float) -> float:
    """How far rounding may move the sum of weights of this mean, relative to the sum; `value` as
    they were given, and as an array.

    Twice eps of a half type: entries are rounded, and so is the sum that normalised them. Entries
    of float16 below 2^-14 are multiples of 2^-24.
    """
    if is_bfloat16(value):
        return 2 * 2.0**-7
    size = array.dtype.itemsize if array.dtype.kind == "f" else 8
    if size == 2:
        return 2 * 2.0**-10 + 2.0**-25 / mean
    return 1e-5 if size == 4 else 1e-7


def marginals(
    a: Any, b: Any, n: int, m: int, place: Place = HOST
) -> tuple[Vector, Vector, float, float]:
    """Weights of sum 1, and the sums of the caller's, which are equal up to rounding."""
    wa = wb = None
    slack = 0.0
    if a is not None:
        wa, slack = weights(a, "a", n, place, other=m)
    if b is not None:
        wb, rounding = weights(b, "b", m, place, other=n)
        slack = max(slack, rounding)
    mass_a = 1.0 if wa is None else _mass(wa)
    mass_b = mass_a if wb is None else _mass(wb)
    if wa is None:
        mass_a = mass_b
    if abs(mass_a - mass_b) > slack * max(mass_a, mass_b):
        raise ValueError(
            f"a and b must have equal sums to {slack:g} relative; they are {mass_a:.17g} and "
            f"{mass_b:.17g}. Rescale one, for instance b * (a.sum() / b.sum())"
        )
    ua = np.full(n, 1.0 / n) if wa is None else wa / mass_a
    ub = np.full(m, 1.0 / m) if wb is None else wb / mass_b
    return ua, ub, mass_a, mass_b


def _mass(w: Vector) -> float:
    """The sum of weights, rounded as if there were no zeros."""
    return float((w if np.count_nonzero(w) == len(w) else w[w > 0]).sum())


def regs(value: Any) -> Vector:
    """A nonempty vector of regularisations > 0."""
    missing = "pass regs.compressed()", "pass regs.dropna()"
    array = np.atleast_1d(to_numpy(value, "regs", missing=missing))
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"regs must be a nonempty vector; got shape {array.shape}")
    out = _doubles(array)
    bad = ~(np.isfinite(out) & (out > 0))
    if bad.any():
        k, count = _first(bad)
        raise ValueError(
            f"regs must be finite and > 0; regs[{k}] = {array[k]} ({count} of {out.size} entries)"
        )
    return out


def matrix(value: Any, name: str) -> NDArray[Any]:
    """A nonempty 2-D float32 or float64 array, as given where the kernels can take it."""
    array = to_numpy(value, name, missing=_filled(name, "np.inf", "to forbid those pairs"))
    if array.ndim != 2:
        raise ValueError(f"{name} must be a matrix (n, m); got shape {array.shape}")
    if 0 in array.shape:
        raise ValueError(f"{name} must not be empty; got shape {array.shape}")
    single = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    if array.dtype != (np.float32 if single else np.float64) or not array.flags.aligned:
        check_memory(array.size * (4 if single else 8), f"{name} as floats", "pass float64")
    out = as_float(array)
    if array.dtype.itemsize > 8:
        beyond = np.isinf(out) & np.isfinite(array)
        if beyond.any():
            k, count = _first(beyond)
            i, j = divmod(k, array.shape[1])
            raise ValueError(
                f"{name} must be in the range of float64; {name}[{i}, {j}] = {array[i, j]!s} "
                f"({count} of {array.size} entries)"
            )
    return out if out.flags.aligned else out.copy()


def points(value: Any, name: str, place: Place = HOST) -> Any:
    """A nonempty (n, d) float32 or float64 array of `place`, checked to be finite on the host."""
    if isinstance(place, Cuda):
        array = on_device(value, name, place)
    else:
        flat = getattr(value, "ndim", 2) == 1
        rest = f"{name}.compressed()" if flat else f"np.ma.compress_rows({name})"
        masked = f"pass {rest} to leave those points out"
        missing = masked, f"pass {name}.dropna() to leave those points out"
        array = to_numpy(value, name, missing=missing)
    shape = tuple(int(k) for k in array.shape)
    if len(shape) not in (1, 2):
        raise ValueError(f"{name} must have shape (n, d) or (n,); got {shape}")
    if 0 in shape:
        raise ValueError(f"{name} must not be empty; got shape {shape}")
    if len(shape) == 1:
        array = array.reshape(-1, 1)
    if place.cuda:
        return array
    out = np.ascontiguousarray(as_float(array))
    finite(out, array, name)
    return out if out.flags.aligned else out.copy()


def finite(floats: NDArray[Any], array: NDArray[Any], name: str) -> None:
    """ValueError for the first entry that is not finite as a float."""
    bad = ~np.isfinite(floats)
    if bad.any():
        at = tuple(int(k) for k in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ValueError(
            f"{name} must be finite; {name}[{', '.join(map(str, at))}] = {array[at]} "
            f"({np.count_nonzero(bad)} of {array.size} entries)"
        )


def available_memory() -> int:
    """Bytes that can be had without swapping, within the limits of the process and its container.

    Where the system states none of them, more than any machine has.
    """
    free = UNKNOWN
    for read in (_free_of_system, _left_of_process, _left_of_container):
        with contextlib.suppress(OSError, ValueError, AttributeError, ImportError):
            free = min(free, read())
    return max(free, 0)


def _free_of_system() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():  # without caches that the system would give up
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = (v.split()[1] for v in meminfo.read_text().splitlines() if v.startswith("MemAvail"))
    return int(next(found)) * 1024


def _left_of_process() -> int:
    """Bytes left of the address space (ulimit -v)."""
    import resource  # of POSIX systems

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return UNKNOWN
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * os.sysconf("SC_PAGE_SIZE")


def _left_of_container() -> int:
    group = Path("/sys/fs/cgroup")
    most = int((group / "memory.max").read_text())  # ValueError for "max": no limit
    return most - int((group / "memory.current").read_text())


def free_memory(place: Place = HOST) -> int:
    """Bytes that can be had where arrays live."""
    return int(core_of(place).memory(place.where())[0]) if place.cuda else available_memory()


def check_memory(size: int, what: str, remedy: str, place: Place = HOST) -> None:
    """MemoryError before the operating system has to step in."""
    free = free_memory(place)
    if size > free:
        raise MemoryError(
            f"{what} needs {size / 2**30:.3g} GiB and {free / 2**30:.3g} GiB are available; "
            f"{remedy}"
        )


def potential(value: Any, name: str, size: int, place: Place = HOST) -> Vector:
    """A finite potential of the given size, in float64."""
    missing = _filled(name, "0", "to start those entries at 0")
    array = _doubles(to_numpy(value, f"init {name}", place, missing=missing))
    if array.shape != (size,):
        raise ValueError(f"init {name} must have shape ({size},); got {array.shape}")
    if not np.isfinite(array).all():
        k = int(np.argmin(np.isfinite(array)))
        raise ValueError(f"init {name} must be finite; {name}[{k}] = {array[k]}")
    return array
