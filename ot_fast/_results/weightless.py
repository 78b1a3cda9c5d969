"""Potentials of rows and columns without weight: c-transforms of the potentials of the others.

They are computed where they are asked for, from the costs of these lines alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .._geometry import PointCloud
from .._lines import Index
from .._problem import Pair, Problem

Vector = NDArray[np.float64]
Asked = tuple[Vector | None, Vector | None]  # weights of rows and columns

ALL: Asked = (None, None)
BLOCK = 1 << 20  # entries of a stored C copied together


def soft(p: Problem, found: Pair, asked: Asked) -> Pair:
    """Potentials of all the caller's lines, of an entropic plan: those found, and
    ``f_i = -reg log sum_j b_j exp((g_j - C_ij)/reg)`` where there is no weight.
    """
    for side, v in enumerate(found):
        index, weight = p.weightless(side, asked[side]), p.weight(1 - side)
        others = np.flatnonzero(weight)
        v[index] = _transform(p, side, index, others, found[1 - side][others], weight[others])
    return found


def hard(p: Problem, found: Pair, asked: Asked) -> Pair:
    """The same of a sparse plan: the largest potentials that let no entry into it,
    ``f_i = min_j C_ij - g_j``.
    """
    first, second = p.orient(0, 1)  # the sides of the core's rows and columns
    u, v = p.orient(*found)
    index, others = p.weightless(first, asked[first]), np.flatnonzero(p.weight(second))
    u[index] = _transform(p, first, index, others, v[others])
    others = np.union1d(index, np.flatnonzero(p.weight(first)))
    index = p.weightless(second, asked[second])
    v[index] = _transform(p, second, index, others, u[others])
    return found


def _transform(
    p: Problem, side: int, index: Index, others: Index, v: Vector, weight: Vector | None = None
) -> Vector:
    """The potential of rows (side 0) or columns (side 1) from that of lines of the other side; soft
    where these have weights. It is 0 where all pairs are forbidden.
    """
    given, out = p.lines.geometry, np.zeros(len(index))
    step = max(1, len(index) if isinstance(given, PointCloud) else BLOCK // len(others))
    for k in range(0, len(index), step):
        part = slice(k, k + step)
        lines = (index[part], others) if side == 0 else (others, index[part])
        costs = given.subset(*lines)
        a, b = np.ones(len(index[part])), np.ones(len(others)) if weight is None else weight
        rows = (side == 1) == costs.transposed  # whether these lines are rows of the core
        q = replace(p, geometry=costs, a=a if rows else b, b=b if rows else a)
        u = q.transform(v, rows=rows, soft=weight is not None)
        out[part] = np.where(np.isfinite(u), u, 0.0)
    return out
