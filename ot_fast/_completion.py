"""What a plan misses of its marginals, carried at least cost along some of the allowed pairs.

A row that misses mass reaches a column that does along pairs that take mass and entries of the plan
that give it: a flow of least cost in the plan's residual graph. The core solves it on a list of
pairs (csrc/flow). Where these do not carry all, the cheapest pairs that leave the part of the graph
which is reached are added, until all is carried or no allowed pair leaves: that part is a cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._backends import core

if TYPE_CHECKING:
    from ._problem import Pair, Problem, Vector

Mask = NDArray[np.bool_]
OfPairs = Callable[[NDArray[Any], NDArray[Any], "Vector"], "Vector"]  # of i, j and C_ij - shift

ROUNDING = 1e-14  # of unit mass: what sums of marginals leave
NEARLY = 1e-9  # of unit mass: where less cannot be carried, a plan is said to exist
FLOW_ROUNDING = 1e-14  # of the mass that the simplex moves
FEW = 100_000  # pairs: that many are listed in any case
TRIES = 6  # times that a margin is divided by 4 where too many pairs lie below it
MOST = 1 << 22  # pairs listed before a plan is said not to exist, for entries of far pairs
PAIRS_A_LINE = 16  # listed a row and column, on average, where that is more than FEW


@dataclass
class Partial:
    """A plan of a problem, in part, in the core's units."""

    problem: Problem
    missing: Pair  # of its rows and columns; the sums are equal
    duals: Pair  # u_i + v_j <= C_ij - shift; -inf leaves a row or a column out
    price: OfPairs  # the cost of a pair in the flow
    held: OfPairs | None  # its entry of the plan; None: there are none yet
    product: Callable[[Pair], float]  # the cost of a product of masses that are missing


@dataclass(frozen=True)
class Completion:
    """The cost of the flow, and the mass that no allowed pair carries, with the cut that shows it:
    rows whose pairs all end in columns that are full.
    """

    cost: float
    lack: float
    rows: Mask
    columns: Mask


@dataclass
class _Pairs:
    """The pairs that are listed."""

    plan: Partial
    limit: int
    i: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    j: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    cost: Vector = field(default_factory=lambda: np.zeros(0))
    held: Vector = field(default_factory=lambda: np.zeros(0))

    def add(self, rows: Mask, columns: Mask, margin: float, limit: int) -> bool:
        """Add those of these rows and columns with reduced costs below the margin: one pass. False
        and nothing where they are more than the limit.
        """
        p = self.plan.problem
        u, v = self.plan.duals
        u, v = np.where(rows, u, -np.inf), np.where(columns, v, -np.inf)
        found = p.core.cheap_pairs(p.geometry.handle, u, v, margin, limit, p.where)
        if found is None:
            return False
        begin, j, C = found
        i = np.repeat(np.arange(len(begin) - 1, dtype=np.int32), np.diff(begin))
        m = p.shape[1]
        new = ~np.isin(i.astype(np.int64) * m + j, self.i.astype(np.int64) * m + self.j)
        i, j, C = i[new], j[new], C[new]
        self.i, self.j = np.concatenate([self.i, i]), np.concatenate([self.j, j])
        held = np.zeros(len(C)) if self.plan.held is None else self.plan.held(i, j, C)
        self.cost = np.concatenate([self.cost, self.plan.price(i, j, C)])
        self.held = np.concatenate([self.held, held])
        return True

    def add_cheapest(self, rows: Mask, columns: Mask, margin: float) -> float | None:
        """Add pairs of these rows and columns, some with the least reduced cost: two passes, more
        where they are many. Returns the margin below which they lie, None where there is no pair.
        """
        p = self.plan.problem
        u, v = self.plan.duals
        low = p.column_min(np.where(rows, u, -np.inf), rows.astype(float))
        low = np.where(columns, low - v, np.inf)
        least = float(low.min())
        if least == np.inf:
            return None
        margin = max(margin, 2 * least)
        if self.add(rows, columns, margin, self.limit):
            return margin
        # Fewer pairs, and all those of a few rows and columns, which connect the others.
        part = margin
        for _ in range(TRIES if margin < np.inf else 0):
            part = least + (part - least) / 4
            if self.add(rows, columns, part, self.limit):
                break
        k = self.limit // (2 * max(p.shape))
        few = np.zeros_like(columns)
        few[np.argpartition(low, min(k, len(low) - 1))[:k]] = True
        some = np.zeros_like(rows)
        some[np.flatnonzero(rows)[:: -(-int(rows.sum()) // k)]] = True
        self.add(rows, columns & few, margin, self.limit)
        self.add(some, columns & ~few, margin, self.limit)
        return margin

    def reached(self, sources: Mask, flow: Vector) -> tuple[Mask, Mask]:
        """The rows and columns that mass of some rows can reach."""
        import scipy.sparse as sp
        from scipy.sparse.csgraph import breadth_first_order

        n, m = self.plan.problem.shape
        total = self.plan.missing[0].sum()
        moved = total + np.minimum(self.held, total).sum()
        gives = self.held + flow > FLOW_ROUNDING * moved
        start = np.flatnonzero(sources)
        tail = np.concatenate([self.i, n + self.j[gives], np.full(len(start), n + m)])
        head = np.concatenate([n + self.j, self.i[gives], start])
        graph = sp.csr_array((np.ones(len(tail), np.int8), (tail, head)), shape=(n + m + 1,) * 2)
        found = np.zeros(n + m + 1, bool)
        found[breadth_first_order(graph, n + m, return_predecessors=False)] = True
        return found[:n], found[n : n + m]


def complete(plan: Partial, margin: float) -> Completion:
    """The flow on pairs with reduced costs below the margin, and above it where it has to be.

    Of few pairs, all that a cheapest path can use are listed in the end: no path within the margin
    costs more than ``n + m`` times the margin.
    """
    p = plan.problem
    n, m = p.shape
    every = p.a > 0, p.b > 0
    pairs = _Pairs(plan, max(FEW, PAIRS_A_LINE * (n + m)))
    margin = pairs.add_cheapest(*every, margin) or margin
    wider = n * m <= FEW  # there are pairs to add where all is carried
    listed = plan.held is None  # there are none that may hold mass
    while True:
        flow, *unsent = core.complete_plan(*plan.missing, pairs.i, pairs.j, pairs.cost, pairs.held)
        cost, lack = float(pairs.cost @ flow), float(min(w.sum() for w in unsent))
        if lack <= ROUNDING:
            if not wider:
                return Completion(cost, 0.0, *every)
            wider = False
            pairs.add(*every, (n + m) * margin, FEW)
            continue
        if len(pairs.i) > FEW:  # more would take seconds: the rest goes at a usual cost
            rest = plan.product((unsent[0], unsent[1] * (unsent[0].sum() / unsent[1].sum())))
            if rest <= lack * p.geometry.scale:
                return Completion(cost + rest, 0.0, *every)
        cut = pairs.reached(unsent[0] > 0, flow)
        beyond = pairs.add_cheapest(cut[0], every[1] & ~cut[1], 4 * margin)
        if beyond is not None:
            margin = beyond
        elif listed or not pairs.add(*every, np.inf, MOST):
            return Completion(cost, lack if lack > NEARLY else 0.0, *cut)
        else:
            listed = True
