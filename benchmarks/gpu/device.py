"""One case on a device, its clock, and rows of several devices beside each other."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cases import Case

SIZES = (5_000, 10_000, 50_000)
DENSE_MOST = 40_000  # points whose dense float64 cost fits beside a plan
BESIDE = ("cuda", "cpu")
LONG = 10.0  # seconds from which on one run is enough
LIMIT = 60.0  # seconds allowed to one solve, by default
Row = dict[str, Any]


class Device:
    """One case on a device: in PyTorch tensors, and on "cpu" in NumPy arrays."""

    def __init__(self, case: Case, dtype: str, device: str = "cuda") -> None:
        self.case, self.dtype, self.device, self.limit = case, dtype, device, LIMIT
        parts = {k: getattr(case, k) for k in ("a", "b", "C", "x", "y")}
        self.parts = {k: self.put(v) for k, v in parts.items() if v is not None}

    def put(self, array: Any) -> Any:
        if self.device == "cpu":
            return np.asarray(array, self.dtype)
        import torch

        return torch.as_tensor(array, dtype=getattr(torch, self.dtype), device=self.device)

    def __getattr__(self, name: str) -> Any:
        return self.parts.get(name)


def wait(device: str) -> None:
    """Until the device is idle."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def timed(solve: Callable[[], Any], device: str = "cuda") -> tuple[float, Any]:
    wait(device)
    start = time.perf_counter()
    answer = solve()
    wait(device)
    return time.perf_counter() - start, answer


def in_turn(calls: dict[str, Callable[[], Any]], repeats: int) -> tuple[Row, Row]:
    """Seconds and the last answer of every device, A B A B; the first call warms up, if short."""
    answers, seconds = {}, {}
    for device, call in calls.items():
        took, answers[device] = timed(call, device)
        seconds[device] = [took] if took > LONG else []
    slow = {device for device, took in seconds.items() if took}
    for _ in range(repeats):
        for device, call in calls.items():
            if device not in slow:
                took, answers[device] = timed(call, device)
                seconds[device].append(took)
    return seconds, answers


def threads_on(device: str, threads: int) -> Row:
    return {"threads": threads} if device == "cpu" else {}


def in_time(args: argparse.Namespace) -> bool:
    """Whether another problem may start; what is left out is said."""
    args.complete = time.monotonic() < args.until
    if not args.complete:
        print("out of time: the rest is left out", file=sys.stderr)
    return bool(args.complete)


def beside_table(rows: list[Row], same: Sequence[str], text: Callable[[Row], str]) -> str:
    """Rows with the time of the last device of the same problem over theirs."""
    lines = []
    for row in rows:
        last = [r for r in rows if all(r[k] == row[k] for k in same)][-1]
        mine, other = (statistics.median(r["seconds"]) for r in (row, last))
        row["ratio"] = other / mine
        what = " ".join(f"{row[k] if row[k] is not None else 'quadratic':>14}" for k in same)
        lines.append(
            f"{what} {row['device']:>5} {1e3 * mine:10.2f} ms {row['ratio']:8.2f}x  {text(row)}"
        )
    return "\n".join(lines)
