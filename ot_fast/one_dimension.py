"""Transport between measures on the line or on a circle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import Place, as_float, place_of, to_numpy
from ._backends import core
from ._options import Options

Vector = NDArray[np.float64]
LARGEST_POWER = 100.0  # on a circle: powers of distances / period stay in the range of float64
LEAVE_OUT = "leave those points out", "leave those points out"  # remedies for missing entries
NO_MASS = "pass {}.filled(0) to give no mass there", "pass {}.fillna(0) to give no mass there"
LARGEST_SCALE = 100  # of masses: beyond 2^100 and 2^-100 they are scaled


def wasserstein_1d(
    x: Any,
    y: Any,
    a: Any = None,
    b: Any = None,
    p: float = 1,
    *,
    period: float | None = None,
    threads: int | None = None,
) -> Any:
    """The distance ``W_p = (min <C,P>)^(1/p)``, ``C_ij = |x_i - y_j|^p``, of points on the line.

    Parameters
    ----------
    x, y : array_like, shapes (..., n) and (..., m)
        Points, a measure a row. Leading dimensions are a batch of problems; those of x and y are
        broadcast.
    a, b : array_like, shapes (n,) or (..., n), and (m,) or (..., m), optional
        Weights >= 0 of equal sums, of all rows or of each. None is uniform. They are not
        normalised: a mass of M gives M^(1/p) times the distance of mass 1.
    p : float
        Exponent >= 1. ``inf`` is the largest distance that mass has to move.
    period : float, optional
        Circumference of a circle. Points are taken modulo `period`, and distances are lengths of
        the shorter arcs. p is then at most 100.
    threads : int, optional
        As in :func:`sinkhorn`.

    Returns
    -------
    float or ndarray
        Shape (...) of the batch, float64.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not real, finite and of matching shapes, or masked; for weights that are
        negative or of unequal sums; for p < 1, where the optimal plan is not the sorted one.

    Notes
    -----
    O(n log n) a row: both measures are sorted, and their quantile functions compared (Villani 2003,
    theorem 2.18). The error is that of some roundings whatever the weights: their sums are
    accumulated in twice the precision. On a circle the cost is a convex function of the shift
    between the quantile functions (Delon, Salomon and Sobolevski 2010), whose minimum takes tens of
    passes over the sorted points. Rows are sorted on the host: CUDA arrays are copied there.
    POT returns ``W_p^p``.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> x = np.random.default_rng(0).normal(size=1000)
    >>> round(otf.wasserstein_1d(x, x + 3, p=2), 12)
    3.0
    >>> otf.wasserstein_1d([[0.0, 1.0], [0.0, 5.0]], [0.0, 1.0])
    array([0., 2.])
    >>> round(otf.wasserstein_1d([0.1], [23.9], period=24.0), 12)
    0.2
    """
    problem = Problems.of(x, y, a, b, p, period, threads)
    distance = problem.solve()[0].reshape(problem.batch)
    return problem.place.put(distance) if problem.batch else float(distance)


def emd_1d(
    x: Any,
    y: Any,
    a: Any = None,
    b: Any = None,
    p: float = 1,
    *,
    period: float | None = None,
    threads: int | None = None,
) -> Any:
    """The plan of :func:`wasserstein_1d` for one problem.

    Parameters
    ----------
    x, y : array_like, shapes (n,) and (m,)
    a, b : array_like, shapes (n,) and (m,), optional
    p : float
        On the line, one plan is optimal for all p >= 1.
    period : float, optional
    threads : int, optional
        As in :func:`wasserstein_1d`.

    Returns
    -------
    scipy.sparse.csr_array, shape (n, m)
        At most n + m - 1 entries, float64; in the sparse format of the library of CUDA arrays.

    Raises
    ------
    TypeError, ValueError
        As :func:`wasserstein_1d`.

    Notes
    -----
    O(n log n). Where points are tied, one of several optimal plans.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> P = otf.emd_1d([3.0, 1.0], [1.0, 2.0, 4.0])
    >>> P.nnz, bool(np.allclose(P.sum(0), 1 / 3))
    (4, True)
    """
    problem = Problems.of(x, y, a, b, p, period, threads)
    if problem.batch:
        raise ValueError(
            f"emd_1d takes one problem, x (n,) and y (m,); got a batch of shape {problem.batch}. "
            "Call it for each row"
        )
    n, m = problem.x.shape[1], problem.y.shape[1]
    begin, column, mass = core.plan_1d(
        *problem.arrays(), problem.p, problem.period, problem.threads
    )
    return problem.place.csr(begin, column, np.ldexp(mass, problem.exponent[0]), (n, m))


@dataclass(frozen=True)
class Problems:
    """A checked batch of problems, a row each, on the host."""

    x: NDArray[Any]  # (rows, n), float32 or float64 as y
    y: NDArray[Any]  # (rows, m)
    a: Vector | None  # (rows, n), scaled by 2^-exponent; None: uniform, of mass 1
    b: Vector | None  # (rows, m)
    exponent: NDArray[np.int64]  # (rows)
    p: float
    period: float  # 0: the line
    batch: tuple[int, ...]  # the caller's shape of the rows
    place: Place  # where x lives
    threads: int

    @classmethod
    def of(cls, x: Any, y: Any, a: Any, b: Any, p: Any, period: Any, threads: Any) -> Problems:
        """The problems of the caller's arrays, or an error."""
        options = Options(threads=threads)
        power = power_of(p, period)
        place = place_of(x, "x")
        u, v = _samples(x, "x", place), _samples(y, "y", place)
        try:
            batch = np.broadcast_shapes(u.shape[:-1], v.shape[:-1])
        except ValueError:
            raise ValueError(
                f"the leading dimensions of x and y must match; got shapes {u.shape} and {v.shape}"
            ) from None
        dtype = np.float64 if period else np.promote_types(u.dtype, v.dtype)
        wa, wb, exponent = weights_of(a, b, u.shape[-1], v.shape[-1], batch, place)
        return cls(
            _rows(u.astype(dtype, copy=False), batch),
            _rows(v.astype(dtype, copy=False), batch),
            wa,
            wb,
            exponent,
            power,
            float(period or 0.0),
            batch,
            place,
            options.thread_count,
        )

    def arrays(self) -> tuple[Any, Any, Any, Any]:
        return self.x, self.y, self.a, self.b

    def solve(
        self, *, points: bool = False, weights: bool = False
    ) -> tuple[Vector, Vector, Vector, Vector, Vector]:
        """W of every row, and its derivatives in x, y, a and b where they are asked for."""
        if weights and (self.period or math.isinf(self.p)):
            raise ValueError("derivatives in weights need p < inf and points on the line")
        out = core.distances_1d(*self.arrays(), self.p, self.period, points, weights, self.threads)
        if math.isinf(self.p) or not self.exponent.any():
            return out
        whole = np.floor(self.exponent / self.p)
        outer = np.ldexp(np.exp2((self.exponent - whole * self.p) / self.p), whole.astype(int))
        inner = np.ldexp(outer, -self.exponent)
        W, gx, gy, ga, gb = out
        gx, gy = (g * outer[:, None] if points else g for g in (gx, gy))
        ga, gb = (g * inner[:, None] if weights else g for g in (ga, gb))
        return W * outer, gx, gy, ga, gb


def power_of(p: Any, period: Any = None) -> float:
    """p, checked, and the period with it."""
    number = math.inf if isinstance(p, float) and p == math.inf else None
    if number is None:
        number = _validate.real(p, "p", positive=True)
    if number < 1:
        raise ValueError(
            f"p must be >= 1; got {p!r}. For smaller ones the plan is not the sorted one: solve "
            "with the costs |x - y|^p as a cost matrix"
        )
    if period is not None:
        _validate.real(period, "period", positive=True)
        if number > LARGEST_POWER:
            raise ValueError(f"p must be at most {LARGEST_POWER:g} on a circle; got {p!r}")
    return number


def _samples(value: Any, name: str, place: Place) -> NDArray[Any]:
    """Points (..., n) as float32 or float64, checked to be finite."""
    array = to_numpy(value, name, place, missing=LEAVE_OUT)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"{name} must hold points (..., n) and not be empty; got shape {array.shape}"
        )
    out = as_float(array)
    _validate.finite(out, array, name)
    return out


def _rows(array: NDArray[Any], batch: tuple[int, ...]) -> NDArray[Any]:
    """(..., n) as (rows, n) with contiguous rows; one row for all is not copied."""
    n = array.shape[-1]
    rows = math.prod(batch)
    if rows == 1:
        return np.require(array.reshape(1, n), requirements=("C", "A"))
    if array.size == n:
        return repeated(np.require(array.reshape(n), requirements=("C", "A")), rows)
    full = np.broadcast_to(array, (*batch, n)).reshape(rows, n)
    return np.require(full, requirements=("C", "A"))


def repeated(row: NDArray[Any], rows: int) -> NDArray[Any]:
    """A row as (rows, n) without a copy, as the core takes it."""
    shape, strides = (rows, row.size), (0, row.itemsize)
    return np.lib.stride_tricks.as_strided(row, shape, strides, writeable=False)


def weights_of(
    a: Any, b: Any, n: int, m: int, batch: tuple[int, ...], place: Place
) -> tuple[Vector | None, Vector | None, NDArray[np.int64]]:
    """Weights (rows, n) and (rows, m) and the exponents by which they were scaled."""
    rows = math.prod(batch)
    if a is None and b is None:
        return None, None, np.zeros(rows, np.int64)
    given = [
        None if w is None else _weights(w, name, size, batch, place)
        for w, name, size in ((a, "a", n), (b, "b", m))
    ]
    sums = [w[0].sum(-1) for w in given if w is not None]
    if len(sums) == 2:
        _check_sums(sums[0], sums[1], max(w[1] for w in given if w is not None))
    mass = sums[0]
    exponent = np.frexp(mass)[1]
    exponent = np.where(abs(exponent) > LARGEST_SCALE, exponent, 0)
    out = []
    for w, size in zip(given, (n, m), strict=True):
        full = np.repeat((mass / size)[..., None], size, -1) if w is None else w[0]
        if exponent.any():
            full = np.ldexp(full, -exponent[..., None])
        out.append(_rows(full, batch))
    return out[0], out[1], np.repeat(exponent.reshape(-1), rows // exponent.size)


def _weights(
    value: Any, name: str, size: int, batch: tuple[int, ...], place: Place
) -> tuple[Vector, float]:
    """Weights (n,) or (*batch, n), and the rounding of their sums, relative."""
    missing = (NO_MASS[0].format(name), NO_MASS[1].format(name))
    array = to_numpy(value, name, place, missing=missing)
    if array.shape not in ((size,), (*batch, size)):
        wanted = f"({size},)" + (f" or {(*batch, size)}" if batch else "")
        raise ValueError(f"{name} must have shape {wanted} to match the points; got {array.shape}")
    with np.errstate(over="ignore"):
        out = np.array(array, dtype=np.float64)
        sums = out.sum(-1)
    _validate.finite(out, array, name)
    if (out < 0).any():
        at = tuple(int(k) for k in np.unravel_index(int(np.argmax(out < 0)), out.shape))
        raise ValueError(
            f"{name} must be >= 0; {name}[{', '.join(map(str, at))}] = {array[at]} "
            f"({np.count_nonzero(out < 0)} of {out.size} entries)"
        )
    if not ((sums > 0) & (sums < math.inf)).all():
        raise ValueError(f"{name} must have a positive, finite sum in every row; got {sums}")
    return out, _validate.rounding_of(value, array, float(sums.min()) / size)


def _check_sums(of_a: Vector, of_b: Vector, slack: float) -> None:
    of_a, of_b = np.broadcast_arrays(of_a, of_b)
    unequal = abs(of_a - of_b) > slack * np.maximum(of_a, of_b)
    if unequal.any():
        k = int(np.argmax(unequal))
        where = f" in row {k}" if of_a.ndim else ""
        raise ValueError(
            f"a and b must have equal sums to {slack:g} relative; they are {of_a.flat[k]:.17g} and "
            f"{of_b.flat[k]:.17g}{where}. Rescale one, for instance "
            "b * (a.sum(-1) / b.sum(-1))[..., None]"
        )
