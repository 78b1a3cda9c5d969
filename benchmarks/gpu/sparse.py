"""Sparse plans beside the CPU backend on the same machine."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

import ot_fast as otf

from .. import cases
from ..cases import Case
from .device import BESIDE, LIMIT, Device, Row, beside_table, in_time, in_turn, threads_on

TITLE = "sparse plans, and the time of the CPU over theirs"
MAX_NZ = (2, 4, 16, None)  # None: quadratic


def measure(args: argparse.Namespace) -> list[Row]:
    return beside(args, problems(args.quick))


def problems(quick: bool) -> Iterator[tuple[Case, int]]:
    """Case, and the axis along which at most k entries are allowed."""
    for n in (1000,) if quick else (1000, 5000):
        yield cases.gauss(n, 0.1), 0
    yield cases.routing(), 1


def solve(d: Device, k: int | None, axis: int, threads: int) -> Any:
    options = {"on_fail": "ignore", "time_limit": d.limit, **threads_on(d.device, threads)}
    if k is None:
        return otf.quadratic(d.a, d.b, d.C, d.case.reg, **options)
    return otf.sparsity_constrained(d.a, d.b, d.C, d.case.reg, k, axis=axis, **options)


def figures(case: Case, axis: int, r: Any) -> Row:
    """Recomputed in NumPy from the plan; the gap to the dual value that the solver states."""
    plan = r.plan if isinstance(r.plan, np.ndarray) else r.plan.cpu().numpy()
    rows, cols = abs(plan.sum(1) - case.a).sum(), abs(plan.sum(0) - case.b).sum()
    value = float((plan * case.C).sum() + case.reg / 2 * (plan * plan).sum())
    return {
        "error": float(max(rows, cols) / case.a.sum()),
        "cardinality": int((plan > 0).sum(axis).max()),
        "value": value,
        "gap": value - r.dual_value,
    }


def beside(
    args: argparse.Namespace,
    given: Iterator[tuple[Case, int]],
    devices: Sequence[str] = BESIDE,
) -> list[Row]:
    rows: list[Row] = []
    for case, axis in given:
        on = {device: Device(case, "float64", device) for device in devices}
        for d in on.values():
            d.limit = args.limit or LIMIT
        for k in MAX_NZ:
            if not in_time(args):
                return rows
            calls = {device: partial(solve, d, k, axis, args.threads) for device, d in on.items()}
            seconds, answers = in_turn(calls, args.repeats or 3)
            for device in devices:
                row: Row = {"case": case.name, "axis": axis, "max_nz": k, "device": device}
                row |= {"seconds": seconds[device], "n_iter": answers[device].n_iter}
                row |= {"status": answers[device].status.value}
                rows.append(row | figures(case, axis, answers[device]))
            print(f"{case.name} {k or 'quadratic'}: done", file=sys.stderr)
    return rows


def table(rows: list[Row], limits: Row) -> str:
    return beside_table(
        rows,
        ("case", "max_nz"),
        lambda r: (
            f"error {r['error']:8.1e}  entries {r['cardinality']:5}  "
            f"gap {r['gap'] / abs(r['value']):8.1e} of the value"
        ),
    )
