"""Costs that are stored as a matrix."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _validate
from .._arrays import Cuda, byte_strides, dtype_of, on_device, place_of
from .base import BaseGeometry, Index, PairCosts, Vector, above, scale_of

SMALL = 1 << 22  # bytes of a copy for which the free memory is not looked up
HUGE = 1e100  # costs whose squares are in the range of float64, with any reg
SAMPLE = np.arange(1024) * 7919, np.arange(1024) * 104729 + np.arange(1024) // 7  # rows, columns
MEDIANS = 8  # in the scale of costs
PROBES = 16  # rows and columns whose entries show that C was changed


class DenseCost(BaseGeometry):
    """A cost matrix, used where it lies.

    Row-major and column-major float32 and float64 matrices are used without a copy (rows or
    columns may be strided); others are converted once. CUDA arrays (CuPy, PyTorch, JAX, Numba) stay
    on their device, and the problem is solved there. C must not change while it is in use: on the
    host, RuntimeError where some of its entries have.

    Parameters
    ----------
    C : array_like, shape (n, m)
        Costs. ``+inf`` forbids a pair; NaN and ``-inf`` raise.

    Attributes
    ----------
    C : ndarray, shape (n, m)
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    TypeError, ValueError
        For what is not a real, nonempty matrix, holds NaN or ``-inf``, or is masked.

    Examples
    --------
    >>> import ot_fast as otf
    >>> otf.DenseCost([[0.0, 1.0], [float("inf"), 2.0]])
    DenseCost(shape=(2, 2), dtype=float64)
    """

    def __init__(self, C: Any) -> None:
        self.place = place_of(C, "C")
        if isinstance(self.place, Cuda):
            self.C, self.column_major = _device_matrix(C, self.place)
        else:
            self.C, self.column_major = _host_matrix(C)
        self.shape = n, m = (int(self.C.shape[0]), int(self.C.shape[1]))
        self.transposed = self.column_major if n == m else n < m
        self.dtype = dtype_of(self.C)
        unscaled = self._read(self._stored)
        stats = self.core.stats(unscaled, self.place.where())
        if stats.nan or stats.neg_inf:
            self._refuse(stats)
        self.has_forbidden = stats.pos_inf > 0
        low, high = stats.min, stats.max
        if low > high:  # no finite entry at all
            low = high = 0.0
        # C and reg are scaled by 2^-exponent where C - min C, 1/reg or squares of costs could leave
        # the range of float64. One huge cost does not scale the others out of it.
        self.exponent = 0
        top = max(abs(low), abs(high))
        huge = top > HUGE and self._least_above(unscaled, low) > math.sqrt(HUGE)
        if top > 1e300 or huge or 0 < top < 1 / HUGE:
            self.exponent = math.frexp(top)[1]
            low, high = math.ldexp(low, -self.exponent), math.ldexp(high, -self.exponent)
        self.shift = low
        self.range = high - low
        # On a device, reading them would take a kernel.
        self._probes = None if self.place.cuda else _probes(self.C)

    @cached_property
    def scale(self) -> float:  # type: ignore[override]
        self._check_unchanged()
        sample = np.ldexp(self._sample(self._read(self._stored)), -self.exponent)
        return scale_of(sample, self.shift, self.range, MEDIANS)

    def _least_above(self, unscaled: Any, low: float) -> float:
        """The least of some costs that is above `low`."""
        return float(above(self._sample(unscaled), low).min(initial=math.inf))

    @property
    def _stored(self) -> Any:
        """C or its transpose, whichever is row-major."""
        return self.C.T if self.column_major else self.C

    def _read(self, stored: Any, shift: float = 0.0) -> Any:
        """For the core, which reads a matrix in either order."""
        return self.core.dense(stored, shift, self.transposed != self.column_major)

    @property
    def handle(self) -> Any:
        self._check_unchanged()
        return super().handle

    def _check_unchanged(self) -> None:
        if self._probes is not None and self._probes != _probes(self.C):
            raise RuntimeError(
                "C was changed in place since it was checked, and a result would be of neither "
                "problem: solve again, or pass C.copy()"
            )

    def _handle(self) -> Any:
        stored = self._stored
        if self.exponent:
            stored = self.place.ldexp(self.place.plain(stored, np.float64), -self.exponent)
        return self._read(stored, self.shift)

    def _on_host(self) -> dict[str, Any]:
        return {"C": self.place.host(self.C)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.column_major:  # a strided matrix may come back in another order
            rows = self.place.contiguous(self.C.T)
            # NumPy calls one column contiguous whatever its strides; a copy has the core's.
            self.C = (rows if self.place.cuda or len(self.C) > 1 else rows.copy()).T

    def _refuse(self, stats: Any) -> None:
        """ValueError for the first entry that is NaN or -inf."""
        k = divmod(stats.first_bad, int(self._stored.shape[1]))
        i, j = k[::-1] if self.column_major else k
        value = self.place.host(self.C[i : i + 1, j : j + 1])[0, 0]
        raise ValueError(
            f"C must not hold NaN or -inf; C[{i}, {j}] = {value} "
            f"({stats.nan + stats.neg_inf} of {math.prod(self.shape)} entries)"
        )

    def _sample(self, unscaled: Any) -> Vector:
        """Some of the costs, the same of a problem and of its transpose."""
        n, m = self.shape[::-1] if self.transposed else self.shape
        if self.place.cuda:
            some = np.arange(0, n, -(-n // 8))
            i, j = np.repeat(some, m), np.tile(np.arange(m), len(some))
            sample = self.core.cost_of_pairs(unscaled, i, j, self.place.where())
        else:
            C = self.C.T if self.transposed else self.C
            sample = C[SAMPLE[0] % n, SAMPLE[1] % m]
        return sample.astype(np.float64)  # type: ignore[no-any-return]

    def subset(self, rows: Index, columns: Index) -> DenseCost:
        self._check_unchanged()
        size = len(rows) * len(columns) * self.dtype.itemsize
        if size > SMALL:
            _validate.check_memory(
                size, "a part of C", "leave out lines without weight", self.place
            )
        return DenseCost(self.place.take(self.C, rows, columns))

    def pair_costs(self) -> PairCosts:
        """A function that reads costs of pairs from host indices: float64, on the host."""
        if not self.place.cuda:
            return lambda i, j: np.asarray(self.C[i, j], np.float64)

        def gathered(i: NDArray[Any], j: NDArray[Any]) -> Vector:
            pair = (j, i) if self.transposed else (i, j)
            C = self.core.cost_of_pairs(self.handle, *pair, self.place.where())
            return np.ldexp(C, self.exponent)  # type: ignore[no-any-return]

        return gathered

    def to_dense(self) -> Any:
        """The matrix itself."""
        return self.C

    def __repr__(self) -> str:
        return f"DenseCost(shape={self.shape}, dtype={self.dtype})"


def _host_matrix(C: Any) -> tuple[NDArray[Any], bool]:
    """The matrix, and whether it is column-major rather than row-major."""
    array = _validate.matrix(C, "C")
    item = array.itemsize
    column_major = array.strides[1] != item and array.strides[0] == item
    if not column_major and array.strides[1] != item:
        _validate.check_memory(array.nbytes, "a contiguous copy of C", "pass C contiguous")
        array = array.copy()  # NumPy calls one entry contiguous whatever its strides
    return array, column_major


def _device_matrix(C: Any, place: Cuda) -> tuple[Any, bool]:
    """The same on a device."""
    array = on_device(C, "C", place)
    if len(array.shape) != 2:
        raise ValueError(f"C must be a matrix (n, m); got shape {tuple(array.shape)}")
    if 0 in array.shape:
        raise ValueError(f"C must not be empty; got shape {tuple(array.shape)}")
    item = dtype_of(array).itemsize
    strides = byte_strides(array)
    column_major = strides[1] != item and strides[0] == item and array.shape[1] > 1
    if not column_major and (strides[1] != item or strides[0] % item or strides[0] < 0):
        array = place.contiguous(array)
    return array, column_major


def _probes(C: NDArray[Any]) -> bytes:
    """Some of the costs, evenly spaced."""
    n, m = C.shape
    return C[:: -(-n // PROBES), :: -(-m // PROBES)].tobytes()
