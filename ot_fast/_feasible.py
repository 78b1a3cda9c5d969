"""Whether a plan exists that avoids the forbidden pairs (infinite costs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._completion import Partial, complete
from ._errors import InfeasibleError

if TYPE_CHECKING:
    from ._problem import Problem, Vector


def check_lines(p: Problem) -> None:
    """InfeasibleError for rows and columns with mass and no allowed pair: one pass."""
    f, g = p.c_transform(np.where(p.b > 0, 0.0, -np.inf))
    for side, w, low in zip(p.orient(0, 1), (p.a, p.b), (f, g), strict=True):
        dead = (w > 0) & np.isposinf(low)
        if dead.any():
            name, k = ("row", "column")[side], p.lines.index(side)[dead]
            raise InfeasibleError(
                f"C forbids every pair of {name} {k[0]}, which has mass {w[dead][0] * p.mass:g} "
                f"({len(k)} such {name}s); allow a pair or set its weight to 0"
            )


def check_flow(p: Problem) -> None:
    """InfeasibleError where the allowed pairs cannot carry the mass: a flow, and its cut."""
    zeros = np.zeros(p.shape[0]), np.zeros(p.shape[1])
    none = Partial(p, (p.a, p.b), zeros, price=_zero, held=None, product=lambda missing: np.inf)
    flow = complete(none, 1e300)
    if flow.lack == 0:
        return
    R, K = (np.flatnonzero(k) for k in (flow.rows & (p.a > 0), flow.columns & (p.b > 0)))
    rows, columns = p.orient("rows", "columns")
    i, j = (p.lines.index(side)[k] for side, k in zip(p.orient(0, 1), (R, K), strict=True))
    raise InfeasibleError(
        f"the pairs that C allows can carry only {1 - flow.lack:.6g} of the mass: {len(R)} of the "
        f"{rows} ({_listed(i)}) hold {p.a[R].sum():.6g} of it, and all pairs that they are allowed "
        f"end in {len(K)} of the {columns} ({_listed(j)}), which take {p.b[K].sum():.6g}. Allow "
        "more pairs, or change a or b"
    )


def _zero(i: NDArray[Any], j: NDArray[Any], C: Vector) -> Vector:
    return np.zeros(len(C))


def _listed(k: NDArray[Any]) -> str:
    """The first of some indices."""
    return ", ".join(map(str, k[:5])) + (", ..." if len(k) > 5 else "")
