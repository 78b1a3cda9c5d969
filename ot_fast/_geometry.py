"""Cost geometries: a stored matrix, or two point clouds whose costs are computed on the fly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import Cuda, Place, byte_strides, dtype_of, on_device, place_of
from ._backends import core_of

HUGE = 1e100  # costs whose squares are in the range of float64, with any reg
SAMPLE = np.arange(1024) * 7919, np.arange(1024) * 104729 + np.arange(1024) // 7  # rows, columns
COSTS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "power")


def _median(v: NDArray[np.float64]) -> float:
    k = len(v)
    middle = sorted({(k - 1) // 2, k // 2})
    return float(np.partition(v, middle)[middle].mean())


def checked_cost(cost: Any, p: Any) -> tuple[str, float]:
    """A cost's name, and the power of the norm that it is (1 where it is none)."""
    name = _validate.choice(cost, "cost", COSTS)
    if name == "power":
        if p is None:
            raise ValueError('cost="power" needs its exponent p')
        return name, _validate.real(p, "p", positive=True)
    if p is not None:
        raise ValueError(f'p needs cost="power"; got cost={cost!r}')
    return name, 2.0 if name == "sqeuclidean" else 1.0


class DenseCost:
    """A cost matrix, used where it lies.

    Row-major and column-major float32 and float64 matrices are used without a copy (rows or
    columns may be strided); others are converted once. CUDA arrays (CuPy, PyTorch, JAX, Numba) stay
    on their device, and the problem is solved there.

    Parameters
    ----------
    C : array_like, shape (n, m)
        Costs. ``+inf`` forbids a pair; NaN and ``-inf`` raise.

    Attributes
    ----------
    C : ndarray, shape (n, m)
    shape : tuple of int
    dtype : numpy.dtype
    """

    def __init__(self, C: Any) -> None:
        self.place: Place = place_of(C, "C")
        self.core = core_of(self.place)
        if isinstance(self.place, Cuda):
            array, rows = self._on_device(C, self.place)
        else:
            array, rows = self._on_host(C)
        self.C = array
        self.shape: tuple[int, int] = tuple(int(k) for k in array.shape)  # type: ignore[assignment]
        self.dtype = dtype_of(array)
        where = self.place.where()
        stats = self.core.stats(self.core.dense(rows), where)
        if stats["nan"] or stats["neg_inf"]:
            k = divmod(stats["first_bad"], int(rows.shape[1]))
            i, j = k[::-1] if self.transposed else k
            value = self.place.host(array[i : i + 1, j : j + 1])[0, 0]
            raise ValueError(
                f"C must not hold NaN or -inf; C[{i}, {j}] = {value} "
                f"({stats['nan'] + stats['neg_inf']} of {math.prod(self.shape)} entries)"
            )
        self.has_forbidden = stats["pos_inf"] > 0
        low, high = stats["min"], stats["max"]
        if low > high:  # no finite entry at all
            low = high = 0.0
        # C and reg scaled by 2^-exponent, exactly, where C - min C, 1/reg or squares of costs could
        # leave the range of float64. One huge cost does not scale the others out of it.
        self.exponent = 0
        top = max(abs(low), abs(high))
        sample = self._sample(rows, low)
        huge = top > HUGE and sample.min(initial=math.inf) > math.sqrt(HUGE)
        if top > 1e300 or huge or 0 < top < 1 / HUGE:
            self.exponent = math.frexp(top)[1]
            rows = self._scaled(rows, -self.exponent)
            low, high = math.ldexp(low, -self.exponent), math.ldexp(high, -self.exponent)
            sample = self._sample(rows, low)
        self.shift = low
        self.range = high - low
        # What reg scaling starts from: costs above the least, without the few that are far above.
        self.scale = min(self.range, 8 * _median(sample)) if len(sample) else self.range
        self.handle = self.core.dense(rows, low)

    def _on_host(self, C: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """The matrix, and the rows that the core reads."""
        array = _validate.matrix(C, "C")
        item = array.itemsize
        # Column-major costs are the row-major costs of the transposed problem.
        self.transposed = array.strides[1] != item and array.strides[0] == item
        if not self.transposed and array.strides[1] != item:
            _validate.check_memory(array.nbytes, "a contiguous copy of C", "pass C contiguous")
            array = np.ascontiguousarray(array)
        return array, array.T if self.transposed else array

    def _on_device(self, C: Any, place: Cuda) -> tuple[Any, Any]:
        array = on_device(C, "C", place)
        if len(array.shape) != 2:
            raise ValueError(f"C must be a matrix (n, m); got shape {tuple(array.shape)}")
        if 0 in array.shape:
            raise ValueError(f"C must not be empty; got shape {tuple(array.shape)}")
        item = dtype_of(array).itemsize
        strides = byte_strides(array)
        self.transposed = strides[1] != item and strides[0] == item and array.shape[1] > 1
        if not self.transposed and (strides[1] != item or strides[0] % item or strides[0] < 0):
            array = place.contiguous(array)
        return array, array.T if self.transposed else array

    def _scaled(self, rows: Any, power: int) -> Any:
        return self.place.ldexp(self.place.plain(rows, np.float64), power)

    def _sample(self, rows: Any, low: float) -> NDArray[np.float64]:
        """Some of the finite costs above the least, as differences from it."""
        n, m = rows.shape
        if self.place.cuda:
            some = [rows[i : i + 1] for i in range(0, n, -(-n // 8))]
            sample = np.concatenate([self.place.host(r).ravel() for r in some])
        else:
            sample = rows[SAMPLE[0] % n, SAMPLE[1] % m]
        with np.errstate(over="ignore"):
            above: NDArray[np.float64] = sample.astype(np.float64) - low
        return above[(above > 0) & (above < math.inf)]

    def to_dense(self) -> Any:
        """The matrix itself."""
        return self.C

    def __repr__(self) -> str:
        return f"DenseCost(shape={self.shape}, dtype={self.dtype})"


@dataclass(frozen=True)
class Points:
    """Validated points, copied where they were: later changes to the caller's do not reach them."""

    array: Any  # (n, d), row-major, float32 or float64
    box: NDArray[np.float64]  # the least and the largest of every coordinate, (2, d), on the host
    place: Place
    name: str  # in messages

    @classmethod
    def copied(cls, array: Any, dtype: Any, place: Place, name: str) -> Points:
        """Of what `_validate.points` gave."""
        with place.active():
            own = place.contiguous(place.plain(array, dtype, copy=True))
            box = place.box(own)
        if not np.isfinite(box).all():
            _validate.finite(place.host(own), place.host(array), name)
        return cls(own, box, place, name)

    @property
    def reach(self) -> float:
        """The largest coordinate."""
        return float(np.abs(self.box).max())

    @cached_property
    def zero(self) -> NDArray[np.bool_]:
        """Which points are zero, (n,), on the host."""
        with self.place.active():
            return self.place.zero_rows(self.array)

    def check_nonzero(self) -> None:
        """ValueError for a point without a direction."""
        zero = self.zero
        if zero.any():
            raise ValueError(
                f"{self.name} must have no zero rows for the cosine cost; "
                f"{self.name}[{int(np.argmax(zero))}] is zero ({int(zero.sum())} rows)"
            )


def points_of(values: tuple[Any, Any], names: tuple[str, str]) -> tuple[Points, Points]:
    """Two clouds of one dimension, dtype and place, validated and copied."""
    place = place_of(values[0], names[0])
    x, y = (_validate.points(v, name, place) for v, name in zip(values, names, strict=True))
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same dimension d; got {x.shape[1]} and "
            f"{y.shape[1]}"
        )
    dtype = np.promote_types(dtype_of(x), dtype_of(y))
    return Points.copied(x, dtype, place, names[0]), Points.copied(y, dtype, place, names[1])


class PointCloud:
    """Costs between two point clouds, computed inside the kernels: O((n + m) d) memory.

    Parameters
    ----------
    x : array_like, shape (n, d) or (n,)
    y : array_like, shape (m, d) or (m,)
        Points. float32 is kept where both are; all else becomes float64. CUDA arrays are copied on
        their device, and the problem is solved there.
    cost : {"sqeuclidean", "euclidean", "cityblock", "cosine", "power"}
        As in :func:`scipy.spatial.distance.cdist`; ``"power"`` is ``|x - y|^p``, the Euclidean
        norm to the power `p`. From d = 8 on, squared distances are expanded as
        ``|x|^2 + |y|^2 - 2 x.y`` on centred points; below, and for the other costs, they are sums
        over differences.
    p : float, optional
        Exponent > 0 of ``cost="power"``, and of no other.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not real, finite, two-dimensional and of one dimension d.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> geom = otf.PointCloud([[0.0], [1.0]], [[0.0], [2.0]])
    >>> geom.to_dense()
    array([[0., 4.],
           [1., 1.]])
    """

    transposed = False
    has_forbidden = False
    shift = 0.0

    def __init__(
        self, x: Any, y: Any, cost: str = "sqeuclidean", *, p: float | None = None
    ) -> None:
        self.cost, self.p = checked_cost(cost, p)
        self._load(*points_of((x, y), ("x", "y")))

    @classmethod
    def of(cls, x: Points, y: Points, cost: str, p: float) -> PointCloud:
        """Of validated points of one dtype, which are not copied here, and a checked cost."""
        cloud = cls.__new__(cls)
        cloud.cost, cloud.p = cost, p
        cloud._load(x, y)
        return cloud

    def swapped(self) -> PointCloud:
        """The costs of y against x."""
        return PointCloud.of(*self.points[::-1], self.cost, self.p)

    def _load(self, x: Points, y: Points) -> None:
        self.points = x, y
        self.x, self.y, self.place = x.array, y.array, x.place
        self.shape: tuple[int, int] = (len(x.array), len(y.array))
        self.dtype = dtype_of(x.array)
        if self.cost == "cosine":
            x.check_nonzero()
            y.check_nonzero()
        # Points scaled by an exact power of two, so that costs neither over- nor underflow.
        reach = max(x.reach, y.reach)
        limit = 2.0**40 if self.dtype == np.float32 else 2.0**100
        power = math.frexp(reach)[1] if reach > limit or 0 < reach < 1 / limit else 0
        if self.cost == "power" and power:
            raise ValueError(
                f'coordinates of cost="power" must lie within {1 / limit:g} .. {limit:g}; the '
                f"largest is {reach:g}. Rescale x and y"
            )
        self.power = 0 if self.cost == "cosine" else power
        self.exponent = self.power * (2 if self.cost == "sqeuclidean" else 1)
        px, py = self.x, self.y
        if power:
            px, py = self.place.ldexp(px, -power), self.place.ldexp(py, -power)
        self.range = self.scale = self._bound(*(np.ldexp(v.box, -power) for v in (x, y)))
        if not self.range < (1e38 if self.dtype == np.float32 else 1e300):
            raise ValueError(f"costs must stay within the range of {self.dtype}; rescale x and y")
        self.core = core_of(self.place)
        self.handle = self.core.points(px, py, self.cost, self.p, self.place.where())

    def _bound(self, x: NDArray[Any], y: NDArray[Any]) -> float:
        """The largest cost that the bounding boxes allow."""
        if self.cost == "cosine":
            return 2.0
        side = np.maximum(x[1] - y[0], y[1] - x[0])
        if self.cost == "cityblock":
            return float(side.sum())
        square = float(side @ side)
        if self.cost == "sqeuclidean":
            return square
        with np.errstate(over="ignore"):
            return float(np.power(square, self.p / 2))

    def to_dense(self) -> Any:
        """The (n, m) cost matrix, in the points' dtype.

        Raises
        ------
        MemoryError
            Where it cannot be held.
        """
        n, m = self.shape
        size = n * m * self.dtype.itemsize
        _validate.check_memory(size, "the cost matrix", "keep the PointCloud", self.place)
        C = self.place.empty((n, m), self.dtype)
        self.core.cost_rows(self.handle, C, self.place.where())
        C = self.place.finished(C)
        return self.place.ldexp(C, self.exponent) if self.exponent else C

    def __repr__(self) -> str:
        d = self.x.shape[1]
        cost = f"{self.cost!r}, p={self.p:g}" if self.cost == "power" else repr(self.cost)
        return f"PointCloud(shape={self.shape}, d={d}, cost={cost}, dtype={self.dtype})"


Geometry = DenseCost | PointCloud


def as_geometry(C: Any) -> Geometry:
    """C itself where it is a geometry, else a DenseCost."""
    return C if isinstance(C, DenseCost | PointCloud) else DenseCost(C)
