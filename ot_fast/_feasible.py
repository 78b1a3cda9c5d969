"""Whether a plan exists that avoids the forbidden pairs (infinite costs)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._errors import InfeasibleError

if TYPE_CHECKING:
    from ._problem import Problem

UNIT = 2**30  # of integer mass in the maximum flow


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
    """InfeasibleError where the allowed pairs cannot carry the mass: a maximum flow."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import maximum_flow

    C = p.orient_matrix(p.geometry.place.host(p.geometry.to_dense()))
    n, m = C.shape
    i, j = np.nonzero(np.isfinite(C))
    source, sink = n + m, n + m + 1
    tail = np.concatenate([i, np.full(n, source), np.arange(n, n + m)])
    head = np.concatenate([j + n, np.arange(n), np.full(m, sink)])
    supply, demand = np.ceil(p.a * UNIT), np.ceil(p.b * UNIT)
    capacity = np.concatenate([np.full(len(i), UNIT), supply, demand]).astype(np.int32)
    graph = sp.csr_array((capacity, (tail, head)), shape=(n + m + 2, n + m + 2))
    flow = maximum_flow(graph, source, sink)
    if flow.flow_value >= UNIT - 2 * (n + m):  # each ceil adds less than one unit
        return
    unsent = supply - np.asarray(flow.flow[source, :n].todense()).ravel()
    side = p.orient(0, 1)[0]
    name, k = ("rows", "columns")[side], p.lines.index(side)[unsent > 2]
    raise InfeasibleError(
        f"the pairs that C allows can carry only {flow.flow_value / UNIT:.6g} of the mass; "
        f"{name} {k[:5].tolist()} cannot send all of theirs. Allow more pairs, or change a or b"
    )
