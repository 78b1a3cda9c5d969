"""Linear assignment: every row to a column of its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _validate
from ._arrays import Place, as_float, place_of, to_numpy
from ._backends import core
from ._errors import InfeasibleError, warn
from ._geometry import DenseCost, PointCloud

LARGEST_COST = 1e300  # of the core: differences of larger ones overflow
NAMED = 5  # lines that a message names
MISSING = "pass C.filled(np.inf) to forbid those pairs", "pass C.fillna(np.inf) to forbid them"


def assignment(C: Any, maximize: bool = False, return_duals: bool = False) -> Any:
    """Assign every row to a column of its own, or every column to a row, at the least sum of costs.

    Parameters
    ----------
    C : array_like, shape (n, m), or PointCloud or DenseCost
        Costs, in any unit. ``+inf`` forbids a pair. A PointCloud is formed as a matrix. CUDA arrays
        are copied to the host, and results come back to their device.
    maximize : bool
        Find the largest sum; ``-inf`` then forbids a pair.
    return_duals : bool
        Return the dual potentials too, which prove the assignment.

    Returns
    -------
    row, column : ndarray of int64, shape (min(n, m),)
        ``C[row, column].sum()`` is optimal; rows are in ascending order, as in
        :func:`scipy.optimize.linear_sum_assignment`.
    f, g : ndarray of float64, shapes (n,) and (m,)
        Only with `return_duals`: ``f_i + g_j <= C_ij`` for all pairs (``>=`` with `maximize`), with
        equality for those assigned. A row or column that is left over has the potential 0, and no
        other of that side a larger one (smaller, with `maximize`). So ``f.sum() + g.sum()`` is the
        optimal sum.

    Raises
    ------
    TypeError, ValueError
        For what is not a real matrix, holds NaN or ``-inf``, or is masked.
    InfeasibleError
        Where no assignment avoids the forbidden pairs. The message names rows that have too few
        columns together.
    MemoryError
        Where a copy, or the matrix of a PointCloud, does not fit.

    Warns
    -----
    ConvergenceWarning
        Where a pair that was assigned misses its potentials by more than 16 roundings, and by how
        much: known of rectangular matrices with costs over more than 16 decades.

    Notes
    -----
    At worst O(n^2 m) operations, O(n + m) memory beside C, which is read where it lies (a matrix
    that is tall in memory is copied). Shortest augmenting paths after column and row reduction
    (Jonker and Volgenant 1987). Square matrices whose reductions leave many rows free, as those of
    clouds in low dimension do, first get potentials by an auction (Bertsekas 1988). A last pass
    over C checks the potentials. Sums of integer costs below 2^53 are exact.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.array([[4, 1, 3], [2, 0, 5], [3, 2, 2]])
    >>> row, column, f, g = otf.assignment(C, return_duals=True)
    >>> column, int(C[row, column].sum()), float(f.sum() + g.sum())
    (array([1, 0, 2]), 5, 5.0)
    """
    place = C.place if isinstance(C, PointCloud | DenseCost) else place_of(C, "C")
    array = _matrix(C, place, maximize)
    if 0 in array.shape:
        found = [np.zeros(0, np.int64)] * 2 + [np.zeros(k) for k in array.shape]
    else:
        found = _solve(array)
    if maximize:
        found[2:] = (-v for v in found[2:])
    return tuple(place.put(v) for v in found[: 4 if return_duals else 2])


def _matrix(C: Any, place: Place, maximize: bool) -> NDArray[Any]:
    """The matrix to be minimised, on the host."""
    if isinstance(C, PointCloud | DenseCost):
        C = C.to_dense()
    array = to_numpy(C, "C", place, missing=MISSING)
    if array.ndim != 2:
        raise ValueError(f"C must be a matrix (n, m); got shape {array.shape}")
    if not maximize:
        return array
    array = as_float(array)
    if np.isposinf(array).any():
        i, j = np.unravel_index(int(np.argmax(array)), array.shape)
        raise ValueError(
            f"C must not hold +inf with maximize=True, where -inf forbids a pair; C[{i}, {j}] = inf"
        )
    return -array


def _solve(array: NDArray[Any]) -> list[NDArray[Any]]:
    """Rows, columns, f and g of the least sum."""
    n, m = array.shape
    lines = _validate.matrix(array, "C")
    column_major = lines.strides[0] < lines.strides[1]
    swapped = n > m or (n == m and column_major)  # the core assigns every row
    if swapped:
        lines = lines.T
    if lines.strides[1] != lines.itemsize or lines.strides[0] % lines.itemsize:
        _validate.check_memory(lines.nbytes, "a row-major copy of C", "pass C or C.T contiguous")
        lines = np.ascontiguousarray(lines)
    exponent = _checked_exponent(lines, array)
    if exponent:
        lines = np.ldexp(lines, -exponent)
    column, f, g, slack, stuck = core.assign(core.dense(lines))
    if len(stuck):
        _refuse(stuck, "columns" if swapped else "rows", "rows" if swapped else "columns")
    if slack:
        warn(
            f"an assigned pair misses its potentials by {np.ldexp(slack, exponent):g}: the sum may "
            "be above the least one by the number of rows times this"
        )
    if exponent:
        with np.errstate(over="ignore"):
            f, g = np.ldexp(f, exponent), np.ldexp(g, exponent)
    row = np.arange(len(column))
    if not swapped:
        return [row, column, f, g]
    order = np.argsort(column)
    return [column[order], row[order], g, f]


def _checked_exponent(lines: NDArray[Any], array: NDArray[Any]) -> int:
    """Whether differences of costs stay in range: 2^-this times them does. Refuses NaN and -inf."""
    stats = core.stats(core.dense(lines), 1)
    if stats.nan or stats.neg_inf:
        DenseCost(array)  # raises, with the place of the first
    top = max(abs(stats.min), abs(stats.max)) if stats.min <= stats.max else 0.0
    return math.frexp(top)[1] if top > LARGEST_COST else 0


def _refuse(stuck: NDArray[Any], lines: str, others: str) -> None:
    """InfeasibleError: these lines have fewer allowed others than there are of them."""
    named = ", ".join(map(str, np.sort(stuck)[:NAMED])) + (", ..." if len(stuck) > NAMED else "")
    raise InfeasibleError(
        f"no assignment avoids the forbidden pairs: {len(stuck)} {lines} ({named}) have finite "
        f"costs in {len(stuck) - 1} {others} together. Allow more pairs, by large finite costs"
    )
