"""Costs of a problem: a stored matrix, or two clouds whose costs the kernels compute."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import HOST, Cuda, Place, byte_strides, dtype_of, on_device, place_of
from ._backends import core_of
from ._costs import Cost, cost_of, norms

if TYPE_CHECKING:
    from typing_extensions import Self

Vector = NDArray[np.float64]
PairCosts = Callable[[NDArray[Any], NDArray[Any]], Vector]  # C_ij of index vectors i, j

HUGE = 1e100  # costs whose squares are in the range of float64, with any reg
SAMPLE = np.arange(1024) * 7919, np.arange(1024) * 104729 + np.arange(1024) // 7  # rows, columns


class _Geometry:
    """What the core reads: ``C / 2^exponent - shift``, transposed where C is column-major.

    The handle by which the core knows the costs is made when it is first needed; it is neither
    pickled nor copied. Of a geometry on a CUDA device a pickle holds host arrays.
    """

    place: Place
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    transposed: bool
    has_forbidden: bool  # some entry is +inf
    exponent: int
    shift: float
    scale: float  # of costs above the least, in the core's units: where reg starts to come down

    @property
    def core(self) -> Any:
        """The core that works where the costs live."""
        return core_of(self.place)

    @cached_property
    def handle(self) -> Any:
        return self._handle()

    def _handle(self) -> Any:
        raise NotImplementedError

    def _lasting(self) -> dict[str, Any]:
        """The attributes without what is made from them."""
        return {k: v for k, v in self.__dict__.items() if k not in ("handle", "swapped")}

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


class DenseCost(_Geometry):
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
            self.C, self.transposed = _device_matrix(C, self.place)
        else:
            self.C, self.transposed = _host_matrix(C)
        n, m = (int(k) for k in self.C.shape)
        self.shape = n, m
        self.dtype = dtype_of(self.C)
        stats = self.core.stats(self.core.dense(self._rows), self.place.where())
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
        sample = self._sample()
        huge = top > HUGE and _above(sample, low).min(initial=math.inf) > math.sqrt(HUGE)
        if top > 1e300 or huge or 0 < top < 1 / HUGE:
            self.exponent = math.frexp(top)[1]
            low, high = math.ldexp(low, -self.exponent), math.ldexp(high, -self.exponent)
            sample = np.ldexp(sample, -self.exponent)
        self.shift = low
        self.range = high - low
        # The few costs that are far above the others do not count.
        above = _above(sample, low)
        self.scale = min(self.range, 8 * _median(above)) if len(above) else self.range

    @property
    def _rows(self) -> Any:
        """The row-major matrix that the core reads, before it is scaled."""
        return self.C.T if self.transposed else self.C

    def _handle(self) -> Any:
        rows = self._rows
        if self.exponent:
            rows = self.place.ldexp(self.place.plain(rows, np.float64), -self.exponent)
        return self.core.dense(rows, self.shift)

    def _on_host(self) -> dict[str, Any]:
        return {"C": self.place.host(self.C)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.transposed:  # a strided matrix may come back in another order
            rows = self.place.contiguous(self.C.T)
            # NumPy calls one column contiguous whatever its strides; a copy has the core's.
            self.C = (rows if self.place.cuda or len(self.C) > 1 else rows.copy()).T

    def _refuse(self, stats: Any) -> None:
        """ValueError for the first entry that is NaN or -inf."""
        k = divmod(stats.first_bad, int(self._rows.shape[1]))
        i, j = k[::-1] if self.transposed else k
        value = self.place.host(self.C[i : i + 1, j : j + 1])[0, 0]
        raise ValueError(
            f"C must not hold NaN or -inf; C[{i}, {j}] = {value} "
            f"({stats.nan + stats.neg_inf} of {math.prod(self.shape)} entries)"
        )

    def _sample(self) -> Vector:
        """Some of the costs."""
        rows = self._rows
        n, m = rows.shape
        if self.place.cuda:
            some = [rows[i : i + 1] for i in range(0, n, -(-n // 8))]
            sample = np.concatenate([self.place.host(r).ravel() for r in some])
        else:
            sample = rows[SAMPLE[0] % n, SAMPLE[1] % m]
        return sample.astype(np.float64)

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
    """The matrix, and whether it is column-major: the row-major costs of the transposed problem."""
    array = _validate.matrix(C, "C")
    item = array.itemsize
    transposed = array.strides[1] != item and array.strides[0] == item
    if not transposed and array.strides[1] != item:
        _validate.check_memory(array.nbytes, "a contiguous copy of C", "pass C contiguous")
        array = np.ascontiguousarray(array)
    return array, transposed


def _device_matrix(C: Any, place: Cuda) -> tuple[Any, bool]:
    """The same on a device."""
    array = on_device(C, "C", place)
    if len(array.shape) != 2:
        raise ValueError(f"C must be a matrix (n, m); got shape {tuple(array.shape)}")
    if 0 in array.shape:
        raise ValueError(f"C must not be empty; got shape {tuple(array.shape)}")
    item = dtype_of(array).itemsize
    strides = byte_strides(array)
    transposed = strides[1] != item and strides[0] == item and array.shape[1] > 1
    if not transposed and (strides[1] != item or strides[0] % item or strides[0] < 0):
        array = place.contiguous(array)
    return array, transposed


def _above(sample: Vector, low: float) -> Vector:
    """The finite ones of some costs as differences from the least, where they are above it."""
    with np.errstate(over="ignore"):
        above: Vector = sample - low
    return above[(above > 0) & (above < math.inf)]


def _median(v: Vector) -> float:
    k = len(v)
    middle = sorted({(k - 1) // 2, k // 2})
    return float(np.partition(v, middle)[middle].mean())


@dataclass(frozen=True)
class Points:
    """Validated points, copied where they were: later changes to the caller's do not reach them."""

    array: Any  # (n, d), row-major, float32 or float64
    box: Vector  # the least and the largest of every coordinate, (2, d), on the host
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

    def on_host(self) -> Points:
        """The same points on the host."""
        if not self.place.cuda:
            return self
        return replace(self, array=self.place.host(self.array), place=HOST)

    @cached_property
    def largest(self) -> float:
        """The largest absolute value of a coordinate."""
        return float(np.abs(self.box).max())

    def norms(self) -> Any:
        """|x_i| in float64, where the points live."""
        return norms(self.place.plain(self.array, np.float64), self.place.namespace())

    def check_nonzero(self) -> None:
        """ValueError for a point without a direction."""
        with self.place.active():
            zero = self.place.zero_rows(self.array)
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


class PointCloud(_Geometry):
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

    Attributes
    ----------
    x, y : ndarray, shapes (n, d) and (m, d)
        Copies of the points.
    cost, p : str, float
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    TypeError, ValueError
        For arrays that are not real, finite, two-dimensional and of one dimension d, or masked;
        for zero points with the cosine cost; for costs beyond the range of the points' dtype.

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
        ground_cost = cost_of(cost, p)
        self._load(*points_of((x, y), ("x", "y")), ground_cost)

    @classmethod
    def of(cls, x: Points, y: Points, ground_cost: Cost) -> PointCloud:
        """Of validated points of one dtype, which are not copied here."""
        cloud = cls.__new__(cls)
        cloud._load(x, y, ground_cost)
        return cloud

    def _load(self, x: Points, y: Points, ground_cost: Cost) -> None:
        self.points, self.ground_cost, self.place = (x, y), ground_cost, x.place
        self.shape = len(x.array), len(y.array)
        self.dtype = dtype_of(x.array)
        if ground_cost.degree == 0:
            x.check_nonzero()
            y.check_nonzero()
        # Points are scaled by a power of two where costs could over- or underflow.
        largest = max(x.largest, y.largest)
        limit = 2.0**40 if self.dtype == np.float32 else 2.0**100
        extreme = largest > limit or 0 < largest < 1 / limit
        self.point_exponent = math.frexp(largest)[1] if extreme else 0
        if ground_cost.degree is None and self.point_exponent:
            raise ValueError(
                f'coordinates of cost="{self.cost}" must lie within {1 / limit:g} .. {limit:g}; '
                f"the largest is {largest:g}. Rescale x and y"
            )
        self.exponent = self.point_exponent * (ground_cost.degree or 0)
        u, v = x.box, y.box
        if self.point_exponent:
            u, v = np.ldexp(u, -self.point_exponent), np.ldexp(v, -self.point_exponent)
        self.range = self.scale = ground_cost.bound(np.maximum(u[1] - v[0], v[1] - u[0]))
        most = 1e38 if self.dtype == np.float32 else 1e300
        if not self.range < most:
            raise ValueError(
                f"costs of {self.dtype} points must be below {most:g}; they are up to "
                f"{self.range:g}. Rescale x and y"
            )
        core_of(self.place)  # TypeError where this build has none

    @property
    def x(self) -> Any:
        return self.points[0].array

    @property
    def y(self) -> Any:
        return self.points[1].array

    @property
    def cost(self) -> str:
        return self.ground_cost.name

    @property
    def p(self) -> float:
        return self.ground_cost.p

    def _on_host(self) -> dict[str, Any]:
        x, y = self.points
        u = x.on_host()
        return {"points": (u, u if y is x else y.on_host())}

    def _handle(self) -> Any:
        x, y, k = self.x, self.y, -self.point_exponent
        if k:
            x, y = self.place.ldexp(x, k), self.place.ldexp(y, k)
        return self.core.points(x, y, self.cost, self.p, self.place.where())

    @cached_property
    def swapped(self) -> Self:
        """The costs of y against x."""
        state = {"points": self.points[::-1], "shape": self.shape[::-1]}
        return self._copied(self._lasting() | state)

    def point_gradient(self, gradient: Any) -> Any:
        """Derivatives in the points x that the core reads, float64, as derivatives in x."""
        degree = self.ground_cost.degree
        if degree == 0:  # the core reads x_i / |x_i|
            return gradient / self.points[0].norms()[:, None]
        exponent = self.point_exponent * ((degree or 1) - 1)
        return self.place.ldexp(gradient, exponent) if exponent else gradient

    def pair_costs(self) -> PairCosts:
        """A function that computes costs of pairs from host indices: float64, on the host."""
        x, y = (self.place.host(v).astype(np.float64) for v in (self.x, self.y))
        return lambda i, j: np.asarray(self.ground_cost.value(x[i], y[j]))

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
