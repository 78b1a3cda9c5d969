"""What the core reads of any costs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import HOST, Place
from .._backends import core_of

if TYPE_CHECKING:
    from typing_extensions import Self

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
PairCosts = Callable[[NDArray[Any], NDArray[Any]], Vector]  # C_ij of index vectors i, j


class BaseGeometry:
    """What the core reads: ``C / 2^exponent - shift``, or its transpose where C has more columns.

    Solvers eliminate the rows of the core, and the potentials of its columns are their unknowns:
    the fewer, the faster.
    The handle by which the core knows the costs is made when it is first needed; it is neither
    pickled nor copied. Of a geometry on a CUDA device a pickle holds host arrays.
    """

    place: Place
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    transposed: bool  # the core's rows are the columns of C
    has_forbidden: bool  # some entry is +inf
    exponent: int
    shift: float
    range: float  # an upper bound of max C - min C, in the core's units
    _made: Any  # the handle, once it is made
    scale: float  # of costs above the least, in the core's units: the first reg of a cold start

    @property
    def core(self) -> Any:
        """The core that works where the costs live."""
        return core_of(self.place)

    @property
    def handle(self) -> Any:
        """The costs as the core knows them."""
        made = self.__dict__.get("_made")
        if made is None:
            made = self._made = self._handle()
        return made

    def subset(self, rows: Index, columns: Index) -> Self:
        """The costs of some rows and columns: a copy."""
        raise NotImplementedError

    def _handle(self) -> Any:
        raise NotImplementedError

    def _lasting(self) -> dict[str, Any]:
        """The attributes without what is made from them."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_made", "turned")}

    def _copied(self, state: dict[str, Any]) -> Self:
        new = type(self).__new__(type(self))
        new.__setstate__(state)
        return new

    def __copy__(self) -> Self:
        return self._copied(self._lasting())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self._copied(copy.deepcopy(self._lasting(), memo))

    def __getstate__(self) -> dict[str, Any]:
        return self._lasting() | self._on_host() | {"place": HOST}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def _on_host(self) -> dict[str, Any]:
        """The attributes that are arrays, on the host."""
        raise NotImplementedError


def above(sample: Vector, low: float) -> Vector:
    """The finite ones of some costs as differences from the least, where they are above it."""
    with np.errstate(over="ignore"):
        difference: Vector = sample - low
    return difference[(difference > 0) & (difference < math.inf)]


def scale_of(sample: Vector, low: float, most: float, medians: int) -> float:
    """The scale of costs, `most` at most, from some of them: a number of medians, so that the few
    that are far above the others do not count.
    """
    v = above(sample, low)
    k = len(v)
    if k == 0:
        return most
    middle = sorted({(k - 1) // 2, k // 2})
    return min(most, medians * float(np.partition(v, middle)[middle].mean()))
