"""The largest entries of a plan, as a sparse matrix on the host."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from .. import _validate
from .plan import Plan

Vector = NDArray[np.float64]
Block = tuple[int, NDArray[Any], NDArray[Any], NDArray[Any]]  # first row; row, column, value

ROUNDING = 1 - 1e-12  # of a sum that is to reach a fraction of the mass
BINS = 4096


@dataclass(frozen=True)
class Kept:
    """Which entries are kept: those >= a threshold, the top_k of every row, or those that together
    hold a fraction of the mass.
    """

    rule: str  # "threshold", "top_k" or "mass"
    amount: float

    @classmethod
    def read(cls, **rules: Any) -> Kept:
        """From the caller's arguments, of which exactly one is given."""
        given = {name: value for name, value in rules.items() if value is not None}
        if len(given) != 1:
            names = ", ".join(rules)
            raise ValueError(f"sparsify needs exactly one of {names}; got {list(given) or 'none'}")
        ((rule, value),) = given.items()
        if rule == "top_k":
            return cls(rule, _validate.integer(value, rule, least=1))
        if rule == "mass":
            return cls(rule, _validate.fraction(value, rule))
        return cls(rule, _validate.real(value, rule, positive=False))


# ---- of a stored sparse plan -------------------------------------------------------------------


def of_entries(P: sp.csr_array, kept: Kept) -> sp.csr_array:
    """The entries of a CSR matrix that are kept."""
    value = P.data
    row = np.repeat(np.arange(P.shape[0]), np.diff(P.indptr))
    if kept.rule == "top_k":
        order = np.lexsort((-value, row))
        rank = np.arange(len(value)) - P.indptr[row]
        keep = np.zeros(len(value), bool)
        keep[order[rank < kept.amount]] = True
    elif kept.rule == "threshold":
        keep = (kept.amount <= value) & (value > 0)
    else:
        keep = _heaviest(value, kept.amount * float(value.sum(dtype=np.float64)))
    index = row[keep], P.indices[keep]
    return sp.csr_array((value[keep], index), shape=P.shape)


def _heaviest(value: NDArray[Any], mass: float) -> NDArray[np.bool_]:
    """The largest values that together hold this mass."""
    order = np.argsort(-value, kind="stable")
    held = np.cumsum(value[order], dtype=np.float64)
    keep = np.zeros(len(value), bool)
    keep[order[: int(np.searchsorted(held, mass * ROUNDING)) + 1]] = True
    return keep


# ---- of a plan that is not stored --------------------------------------------------------------


def of_plan(plan: Plan, kept: Kept) -> sp.csr_array:
    """The entries of an entropic plan that are kept, in the caller's orientation."""
    p = plan.problem
    if kept.rule == "top_k":  # of the caller's rows
        largest = _largest_of_columns if p.transposed else _largest_of_rows
        P = largest(plan, int(kept.amount))
    elif p.geometry.place.cuda:
        P = _on_device(plan, kept)
    else:
        P = _above(plan, _cut(plan, kept))
    return p.lines.expanded_csr(sp.csr_array(p.orient_matrix(P)))


def _on_device(plan: Plan, kept: Kept) -> sp.csr_array:
    """Entries above a threshold, gathered on the device; with a mass, the largest of them."""
    p = plan.problem
    n, m = plan.shape
    if kept.rule == "threshold":
        cut = float(np.nextafter(kept.amount, 0))
    else:  # the entries below it hold less than may be dropped
        cut = p.mass * (1 - kept.amount) / math.prod(plan.shape)
    begin, column, value = p.core.entries(plan.handle, cut, p.where)
    if kept.rule == "mass":
        keep = _heaviest(value, _target(plan, kept.amount))
        row = np.repeat(np.arange(n), np.diff(begin))[keep]
        column, value = column[keep], value[keep]
        begin = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=n))])
    return sp.csr_array((value.astype(p.plan_dtype), column, begin), shape=(n, m))


def _target(plan: Plan, fraction: float) -> float:
    return fraction * float(plan.unit[0].sum()) * plan.problem.mass


def _cut(plan: Plan, kept: Kept) -> float:
    """The least entry that is kept.

    For a fraction of the mass: from two histograms of log2 P weighted by P, the second inside the
    bin of the first in which the fraction is reached. A pass each.
    """
    if kept.rule == "threshold":
        return kept.amount
    low, high = -1100.0, 1100.0
    above = 0.0
    target = _target(plan, kept.amount) * ROUNDING
    for _ in range(2):
        edges = np.linspace(low, high, BINS + 1)
        counts = np.zeros(BINS)
        for _i, B in plan.blocks():
            v = B[B > 0].astype(np.float64)
            counts += np.histogram(np.log2(v), bins=edges, weights=v)[0]
        held = above + np.cumsum(counts[::-1])[::-1]
        k = int(np.flatnonzero(held >= target)[-1]) if held[0] >= target else 0
        above = held[k] - counts[k]
        low, high = edges[k], edges[k + 1]
    return float(2.0**low * ROUNDING)


def _above(plan: Plan, cut: float) -> sp.csr_array:
    return _collected(
        plan,
        (
            (i, r, c, B[r, c])
            for i, B in plan.blocks()
            for r, c in [np.nonzero((cut <= B) & (B > 0))]
        ),
    )


def _collected(plan: Plan, blocks: Iterable[Block]) -> sp.csr_array:
    """A matrix of the entries of all blocks; MemoryError before they do not fit."""
    rows, cols, vals = [], [], []
    kept = 0
    remedy = "keep fewer entries with sparsify(threshold=, top_k= or mass=)"
    for i, r, c, v in blocks:
        kept += len(v)
        _validate.check_memory(4 * 24 * len(v), f"a sparse plan of {kept} entries", remedy)
        rows.append(r + i)
        cols.append(c)
        vals.append(v)
    _validate.check_memory(48 * kept, f"a sparse plan of {kept} entries", remedy)
    index = (np.concatenate(rows), np.concatenate(cols))
    return sp.csr_array((np.concatenate(vals), index), shape=plan.shape)


def _largest_of_rows(plan: Plan, k: int) -> sp.csr_array:
    m = plan.shape[1]
    k = min(k, m)

    def largest(i: int, B: NDArray[Any]) -> Block:
        c = np.argpartition(B, m - k, axis=1)[:, m - k :]
        r = np.repeat(np.arange(len(B)), k)
        v = np.take_along_axis(B, c, axis=1).ravel()
        on = v > 0
        return i, r[on], c.ravel()[on], v[on]

    return _collected(plan, (largest(i, B) for i, B in plan.blocks()))


def _largest_of_columns(plan: Plan, k: int) -> sp.csr_array:
    """The k largest so far of every column, updated block by block: O(k m) memory."""
    n, m = plan.shape
    vals: NDArray[Any] = np.zeros((0, m), plan.problem.plan_dtype)
    rows: NDArray[Any] = np.zeros((0, m), np.int64)
    for i, B in plan.blocks():
        vals = np.vstack([vals, B])
        rows = np.vstack([rows, np.broadcast_to(np.arange(i, i + len(B))[:, None], B.shape)])
        if len(vals) > k:
            keep = np.argpartition(vals, len(vals) - k, axis=0)[len(vals) - k :]
            vals, rows = (np.take_along_axis(z, keep, axis=0) for z in (vals, rows))
    cols = np.broadcast_to(np.arange(m), vals.shape)
    on = vals > 0
    return sp.csr_array((vals[on], (rows[on], cols[on])), shape=(n, m))
