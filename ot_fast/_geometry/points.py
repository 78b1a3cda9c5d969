"""Costs between two point clouds, which the kernels compute."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from .._arrays import HOST, Place, dtype_of, lock, place_of
from .._backends import core_of
from .._costs import Cost, cost_of, norms
from .base import BaseGeometry, Index, PairCosts, Vector, scale_of

if TYPE_CHECKING:
    from typing_extensions import Self

# Pairs of points whose costs are a sample, as fractions of n and m: a low-discrepancy sequence (of
# additive recurrence), which no grid is in step with, and its mirror image. So x and y can be
# exchanged.
_STEPS = np.outer(np.arange(64) + 0.5, [0.7548776662466927, 0.5698402909980532]) % 1
SAMPLE = np.concatenate([_STEPS, _STEPS[:, ::-1]]).T
MEDIANS = 32  # in the scale of costs: with 8 losses of heavy tails converge less often


@dataclass(frozen=True)
class Points:
    """Validated points, copied where they were: later changes to the caller's do not reach them."""

    array: Any  # (n, d), row-major, float32 or float64
    box: Vector  # the least and the largest of every coordinate, (2, d), on the host
    largest: float  # the largest absolute value of a coordinate
    place: Place
    name: str  # in messages

    @classmethod
    def copied(cls, array: Any, dtype: Any, place: Place, name: str) -> Points:
        """A copy of points that `_validate.points` has checked."""
        with place.active():
            own = place.contiguous(place.plain(array, dtype, copy=True))
            box = place.box(own)
        if not np.isfinite(box).all():
            _validate.finite(place.host(own), place.host(array), name)
        return cls(own, box, float(np.abs(box).max()), place, name)

    def __post_init__(self) -> None:
        lock(self.array)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        lock(self.array)

    def take(self, rows: Index) -> Points:
        """Some of the points."""
        if len(rows) == len(self.array):
            return self
        with self.place.active():
            own = self.place.contiguous(self.place.take(self.array, rows))
            box = self.place.box(own)
        return Points(own, box, float(np.abs(box).max()), self.place, self.name)

    def on_host(self) -> Points:
        """The same points on the host."""
        if not self.place.cuda:
            return self
        return replace(self, array=self.place.host(self.array), place=HOST)

    def sampled(self, part: Vector) -> Vector:
        """The points at these fractions of their number, float64, on the host."""
        index = (part * len(self.array)).astype(np.int64)
        return self.place.rows(self.array, index).astype(np.float64)

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


class PointCloud(BaseGeometry):
    """Costs between two point clouds, computed inside the kernels: O((n + m) d) memory.

    Parameters
    ----------
    x : array_like, shape (n, d) or (n,)
    y : array_like, shape (m, d) or (m,)
        Points. Two clouds of float16 or float32 are computed in float32, all else in float64. CUDA
        arrays are copied on their device, and the problem is solved there.
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
        Copies of the points, read-only where they are NumPy arrays.
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

    has_forbidden = False
    shift = 0.0

    def __init__(
        self, x: Any, y: Any, cost: str = "sqeuclidean", *, p: float | None = None
    ) -> None:
        ground_cost = cost_of(cost, p)
        self._load(*points_of((x, y), ("x", "y")), ground_cost)

    @classmethod
    def of(
        cls, x: Points, y: Points, ground_cost: Cost, *, transposed: bool | None = None
    ) -> PointCloud:
        """The costs between checked points of one dtype, without a copy.

        `transposed` says whether y are the core's rows; by default they are where they are more.
        """
        cloud = cls.__new__(cls)
        cloud._load(x, y, ground_cost)
        if transposed is not None:
            cloud.transposed = transposed
        return cloud

    def _load(self, x: Points, y: Points, ground_cost: Cost) -> None:
        self.points, self.ground_cost, self.place = (x, y), ground_cost, x.place
        self.shape = n, m = len(x.array), len(y.array)
        self.transposed = n < m
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
        self.range = ground_cost.bound(np.maximum(u[1] - v[0], v[1] - u[0]))
        most = 1e38 if self.dtype == np.float32 else 1e300
        if not self.range < most:
            raise ValueError(
                f"costs of {self.dtype} points must be below {most:g}; they are up to "
                f"{self.range:g}. Rescale x and y"
            )
        core_of(self.place)  # TypeError where this build has none

    @property
    def x(self) -> Any:
        return self.place.handed_out(self.points[0].array)

    @property
    def y(self) -> Any:
        return self.place.handed_out(self.points[1].array)

    @property
    def dimension(self) -> int:
        return int(self.points[0].array.shape[1])

    @cached_property
    def scale(self) -> float:  # type: ignore[override]
        """From costs of 128 pairs, the same of a problem and of its transpose."""
        n, m = self.shape
        larger = self.points if n >= m else self.points[::-1]
        x, y = (v.sampled(part) for v, part in zip(larger, SAMPLE, strict=True))
        if self.point_exponent:
            x, y = np.ldexp(x, -self.point_exponent), np.ldexp(y, -self.point_exponent)
        return scale_of(self.ground_cost.value(x, y), 0.0, self.range, MEDIANS)

    @property
    def rows(self) -> Points:
        """The points of the core's rows."""
        return self.points[self.transposed]

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
        (x, y), k = (v.array for v in self.points), -self.point_exponent
        if k:
            x, y = self.place.ldexp(x, k), self.place.ldexp(y, k)
        if self.transposed:
            x, y = y, x
        return self.core.points(x, y, self.cost, self.p, self.place.where())

    @cached_property
    def turned(self) -> Self:
        """The same costs, of which the core reads the transpose."""
        return self._copied(self._lasting() | {"transposed": not self.transposed})

    def own(self, side: int) -> PointCloud:
        """The costs of x (side 0) or y (side 1) against itself."""
        points = self.points[side]
        return PointCloud.of(points, points, self.ground_cost)

    def subset(self, rows: Index, columns: Index) -> PointCloud:
        x, y = self.points
        return PointCloud.of(x.take(rows), y.take(columns), self.ground_cost)

    def point_gradient(self, gradient: Any) -> Any:
        """Derivatives in the points of the core's rows as it reads them, float64, as derivatives in
        the points themselves.
        """
        degree = self.ground_cost.degree
        if degree == 0:  # the core reads x_i / |x_i|
            return gradient / self.rows.norms()[:, None]
        exponent = self.point_exponent * ((degree or 1) - 1)
        return self.place.ldexp(gradient, exponent) if exponent else gradient

    def pair_costs(self) -> PairCosts:
        """A function that computes costs of pairs from host indices: float64, on the host."""
        x, y = (self.place.host(v.array).astype(np.float64) for v in self.points)
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
        C = self.place.empty((m, n) if self.transposed else (n, m), self.dtype)
        self.core.cost_rows(self.handle, C, self.place.where())
        C = self.place.finished(C)
        if self.transposed:
            C = C.T
        return self.place.ldexp(C, self.exponent) if self.exponent else C

    def __repr__(self) -> str:
        d = self.dimension
        cost = f"{self.cost!r}, p={self.p:g}" if self.cost == "power" else repr(self.cost)
        return f"PointCloud(shape={self.shape}, d={d}, cost={cost}, dtype={self.dtype})"
