"""Sliced transport: distances between projections of two clouds on lines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import HOST, Place, ReadOnly, lasting, lock, place_of, to_numpy
from ._options import Options
from .one_dimension import LEAVE_OUT, Problems, power_of, repeated, weights_of

Vector = NDArray[np.float64]
BLOCK = 1 << 22  # projected points that are held at once
LINES = 100
STEPS = 100  # of an ascent
LEAST_STEP = 1e-4  # of a line search, as a part of the whole step


class SlicedWasserstein:
    """Distances of projected clouds, with gradients in points and weights.

    Attributes
    ----------
    value : float
        :func:`sliced_wasserstein`: ``(mean_l W_l^p)^(1/p)``, the largest W_l for ``p = inf``.
        :func:`max_sliced_wasserstein`: the largest distance found.
    values : ndarray, shape (k,)
        The distance W_l on each line.
    projections : ndarray, shape (k, d)
        Its direction.
    gradient_x, gradient_y : ndarray, shapes (n, d) and (m, d)
        Derivatives of `value` in the points, in their dtype: zero where `value` is, and one of
        several where points are tied on a line. Computed on first access by a second pass over the
        lines, both at once.
    gradient_a, gradient_b : ndarray, shapes (n,) and (m,)
        Derivatives in the weights, for changes that keep the sums equal, up to a constant. Not for
        ``p = inf``.
    """

    def __init__(self, clouds: Clouds, projections: Vector) -> None:
        self._clouds, self.projections = clouds, lock(projections)
        self.values = lock(clouds.distances(projections))
        p, largest = clouds.p, float(self.values.max())
        if math.isinf(p) or largest == 0:
            self.value = largest
        else:
            self.value = largest * float(np.mean((self.values / largest) ** p)) ** (1 / p)

    def __repr__(self) -> str:
        return f"SlicedWasserstein(value={self.value:g}, lines={len(self.values)})"

    def __getstate__(self) -> dict[str, Any]:
        return lasting(self) | {"_clouds": replace(self._clouds, place=HOST)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        lock((self.projections, self.values))  # NumPy's pickles and copies are writable

    @property
    def _place(self) -> Place:
        return self._clouds.place

    @property
    def _outer(self) -> Vector:
        """d value / d W_l."""
        p, outer = self._clouds.p, np.zeros(len(self.values))
        if math.isinf(p):
            outer[np.argmax(self.values)] = 1
        elif self.value > 0:
            outer[:] = (self.values / self.value) ** (p - 1) / len(outer)
        return outer

    @ReadOnly
    def _in_points(self) -> tuple[Any, Any]:
        return self._clouds.point_gradients(self.projections, self._outer)

    @ReadOnly
    def _in_weights(self) -> tuple[Any, Any]:
        return self._clouds.weight_gradients(self.projections, self._outer)

    gradient_x = property(lambda self: self._in_points[0])
    gradient_y = property(lambda self: self._in_points[1])
    gradient_a = property(lambda self: self._in_weights[0])
    gradient_b = property(lambda self: self._in_weights[1])


def sliced_wasserstein(
    x: Any,
    y: Any,
    a: Any = None,
    b: Any = None,
    *,
    p: float = 2,
    n_projections: int | None = None,
    projections: Any = None,
    seed: Any = None,
    threads: int | None = None,
) -> SlicedWasserstein:
    """The mean of the distances between projections of two clouds on random lines.

    ``value = (mean_l W_p(x theta_l, y theta_l)^p)^(1/p)`` over directions theta_l, with W_p of
    :func:`wasserstein_1d`.

    Parameters
    ----------
    x, y : array_like, shapes (n, d) and (m, d)
        Points. Two clouds of float32 are projected and sorted in float32.
    a, b : array_like, shapes (n,) and (m,), optional
        Weights >= 0 of equal sums, as in :func:`wasserstein_1d`. None is uniform.
    p : float
        Exponent >= 1, or ``inf``.
    n_projections : int, optional
        Number of directions, drawn uniformly on the sphere; 100 by default.
    projections : array_like, shape (k, d), optional
        The directions, instead of random ones: used as they are.
    seed : int or numpy.random.Generator, optional
        Of the random directions, as :func:`numpy.random.default_rng` takes it.
    threads : int, optional
        As in :func:`sinkhorn`.

    Returns
    -------
    SlicedWasserstein

    Raises
    ------
    TypeError, ValueError
        For arrays that are not real, finite and of matching shapes, or masked; for weights that are
        negative or of unequal sums; for p < 1.

    Notes
    -----
    O(k n (d + log n)), in blocks of lines. The standard error of ``value^p`` is that of a mean of k
    samples. Projections are sorted on the host: CUDA arrays are copied there, and gradients come
    back. Rabin, Peyre, Delon and Bernot 2012; Bonneel et al. 2015.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> r = otf.sliced_wasserstein(x, x + [2.0, 0.0, 0.0], n_projections=2000, seed=0)
    >>> round(r.value * 3**0.5, 1), r.gradient_x.shape  # a shift s gives |s| / sqrt(d)
    (2.0, (500, 3))
    """
    clouds = Clouds.of(x, y, a, b, p, threads)
    return SlicedWasserstein(clouds, clouds.directions(n_projections, projections, seed))


def max_sliced_wasserstein(
    x: Any,
    y: Any,
    a: Any = None,
    b: Any = None,
    *,
    p: float = 2,
    n_projections: int | None = None,
    projections: Any = None,
    seed: Any = None,
    max_iter: int | None = None,
    threads: int | None = None,
) -> SlicedWasserstein:
    """The largest distance between projections of two clouds that an ascent over lines finds.

    Parameters
    ----------
    x, y, a, b
        As in :func:`sliced_wasserstein`.
    p : float
        Exponent >= 1, finite.
    n_projections, projections, seed
        Directions of which the best one starts the ascent, as in :func:`sliced_wasserstein`.
    max_iter : int, optional
        Steps of the ascent, 100 by default; 0 takes the best of the given directions.
    threads : int, optional
        As in :func:`sinkhorn`.

    Returns
    -------
    SlicedWasserstein
        Of one line: ``projections[0]`` is its unit direction.

    Raises
    ------
    TypeError, ValueError
        As :func:`sliced_wasserstein`, and for a direction that is zero.

    Notes
    -----
    The problem is not convex: `value` is a lower bound on the maximum over all lines, and a local
    maximum to the accuracy of the last step. A step goes to the normalised derivative of W_p in the
    direction, which raises the cost of the plan of the moment, and is halved until W_p grows.
    Deshpande et al. 2019.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=(500, 10))
    >>> y = x + 2 * np.eye(10)[3]
    >>> r = otf.max_sliced_wasserstein(x, y, seed=0)
    >>> round(r.value, 6), round(float(abs(r.projections[0, 3])), 4)
    (2.0, 1.0)
    """
    clouds = Clouds.of(x, y, a, b, p, threads)
    if math.isinf(clouds.p):
        raise ValueError("p must be finite for the ascent over lines; got inf")
    steps = STEPS if max_iter is None else _validate.integer(max_iter, "max_iter", least=0)
    lines = clouds.directions(n_projections, projections, seed)
    norms = np.linalg.norm(lines, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"projections must not be zero; projections[{np.argmin(norms)}] is")
    lines = lines / norms
    best = int(np.argmax(clouds.distances(lines)))
    return SlicedWasserstein(clouds, clouds.ascend(lines[best : best + 1], steps))


@dataclass(frozen=True)
class Clouds:
    """Two checked, weighted clouds, on the host."""

    x: NDArray[Any]  # (n, d), float32 or float64 as y
    y: NDArray[Any]
    weights: tuple[Vector | None, Vector | None, NDArray[np.int64]]
    p: float
    place: Place
    dtypes: tuple[Any, Any]  # of the caller's points
    threads: int

    @classmethod
    def of(cls, x: Any, y: Any, a: Any, b: Any, p: Any, threads: Any) -> Clouds:
        options = Options(threads=threads)
        power, place = power_of(p), place_of(x, "x")
        u, v = (
            _validate.points(to_numpy(w, name, place, missing=LEAVE_OUT), name)
            for w, name in ((x, "x"), (y, "y"))
        )
        if u.shape[1] != v.shape[1]:
            raise ValueError(
                f"x and y must have the same dimension d; got {u.shape[1]} and {v.shape[1]}"
            )
        weights = weights_of(a, b, len(u), len(v), (), place)
        dtype = np.promote_types(u.dtype, v.dtype)
        both = u.astype(dtype), v.astype(dtype)  # copies, which later changes do not reach
        return cls(*both, weights, power, place, (u.dtype, v.dtype), options.thread_count)

    def directions(self, count: Any, given: Any, seed: Any) -> Vector:
        """The caller's directions, or random ones."""
        d = self.x.shape[1]
        if given is None:
            k = LINES if count is None else _validate.integer(count, "n_projections", least=1)
            lines = np.random.default_rng(seed).normal(size=(k, d))
            unit: Vector = lines / np.linalg.norm(lines, axis=1, keepdims=True)
            return unit
        if count is not None or seed is not None:
            raise ValueError("projections are given: leave out n_projections and seed")
        lines = to_numpy(given, "projections", place_of(given, "projections"))
        if lines.ndim != 2 or lines.shape[1] != d or not len(lines):
            raise ValueError(f"projections must have shape (k, {d}); got {lines.shape}")
        lines = lines.astype(np.float64)
        _validate.finite(lines, lines, "projections")
        return lines

    def blocks(self, lines: Vector) -> Iterator[tuple[slice, Problems]]:
        """The problems of projected clouds, some lines at a time."""
        n, m = len(self.x), len(self.y)
        a, b, exponent = self.weights
        size = max(1, BLOCK // (n + m))
        for first in range(0, len(lines), size):
            part = slice(first, min(first + size, len(lines)))
            theta = lines[part].astype(self.x.dtype)
            k = len(theta)
            yield (
                part,
                Problems(
                    theta @ self.x.T,
                    theta @ self.y.T,
                    None if a is None else repeated(a[0], k),
                    None if b is None else repeated(b[0], k),
                    np.broadcast_to(exponent, k),
                    self.p,
                    0.0,
                    (k,),
                    self.place,
                    self.threads,
                ),
            )

    def distances(self, lines: Vector) -> Vector:
        return np.concatenate([problems.solve()[0] for _, problems in self.blocks(lines)])

    def point_gradients(self, lines: Vector, outer: Vector) -> tuple[Any, Any]:
        """Derivatives of ``sum_l outer_l W_l``, in x and in y, where these live."""
        gx, gy = np.zeros(self.x.shape), np.zeros(self.y.shape)
        for part, problems in self.blocks(lines):
            _, dx, dy, _, _ = problems.solve(points=True)
            theta = outer[part, None] * lines[part]
            gx += dx.T @ theta
            gy += dy.T @ theta
        u, v = (self.place.put(g.astype(t)) for g, t in zip((gx, gy), self.dtypes, strict=True))
        return u, v

    def weight_gradients(self, lines: Vector, outer: Vector) -> tuple[Any, Any]:
        """The same in the weights, float64."""
        ga, gb = np.zeros(len(self.x)), np.zeros(len(self.y))
        for part, problems in self.blocks(lines):
            _, _, _, da, db = problems.solve(weights=True)
            ga += outer[part] @ da
            gb += outer[part] @ db
        return self.place.put(ga), self.place.put(gb)

    def ascend(self, line: Vector, steps: int) -> Vector:
        """A unit direction (1, d) where W_p is a local maximum, from a given one."""
        value = self.distances(line)[0]
        for _ in range(steps):
            ((_, problems),) = self.blocks(line)
            _, dx, dy, _, _ = problems.solve(points=True)
            slope = dx @ self.x + dy @ self.y
            norm = np.linalg.norm(slope)
            if norm == 0:
                break
            target, step = slope / norm, 1.0
            while step > LEAST_STEP:
                trial = line + step * (target - line)
                trial /= np.linalg.norm(trial)
                found = self.distances(trial)[0]
                if found > value:
                    break
                step /= 2
            else:
                break
            line, value = trial, found
        return line
