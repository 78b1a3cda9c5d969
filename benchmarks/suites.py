"""The suites that run every solver in a worker process: entropic, iteration, memory, large."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tqdm import tqdm

from . import cases
from .cases import Build
from .peers import PEERS
from .worker import Reply, Worker

Row = dict[str, Any]

ENTROPIC = (
    "ot_fast",
    "ot_fast scaling",
    "ot_fast log",
    "ot_fast newton",
    "POT sinkhorn",
    "POT stabilized",
    "POT log",
    "POT emd",
    "regot ssns",
    "regot splr",
    "regot bcd",
    "OTT log",
    "OTT kernel",
)
ITERATION = (
    "ot_fast float64 kernel",
    "ot_fast float32 kernel",
    "ot_fast log",
    "two gemv",
    "POT sinkhorn",
    "POT log",
)
MEMORY = tuple(name for name in ENTROPIC if name != "regot bcd")
LARGE = ("ot_fast", "ot_fast log", "POT lazy", "OTT log")
CURVE_CASES = {("assignment-500", 1 / 1200), ("digits-L2", 1 / 1200), ("gauss2d-1000", 1e-2),
               ("gauss2d-1000", 1e-3)}  # fmt: skip
CURVE_TOLS = (1e-2, 1e-4, 1e-6)
PEER_LARGE_N = 10_000  # an iteration of a peer on larger clouds takes minutes


def describe(build: Build) -> Row:
    case = build()
    d = None if case.x is None else case.x.shape[1]
    n, m = case.shape
    return {"case": case.name, "n": n, "m": m, "d": d, "reg": case.reg, "C_bytes": case.nbytes}


def installed(names: Iterable[str], pattern: str = "") -> list[str]:
    """The solvers of this pattern whose package is there; a missing one is said."""
    found = []
    for name in names:
        if not re.search(pattern, name):
            continue
        try:
            version(PEERS[name].package)
            found.append(name)
        except PackageNotFoundError:
            print(f"warning: {name} is left out: no {PEERS[name].package}", file=sys.stderr)
    return found


def row_of(info: Row, solver: str, tol: float, reply: Reply, seconds: list[float]) -> Row:
    return {
        **info,
        "solver": solver,
        "tol": tol,
        "status": reply.status,
        "seconds": seconds,
        "n_iter": reply.n_iter,
        "error": reply.error,
        "cost": reply.cost,
        "setting": reply.setting,
        "peak_bytes": reply.peak_bytes,
        "extra": reply.extra,
    }


class Session:
    """The workers of one run, the progress bar, and the slow solvers that ran out of time."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.workers: dict[str, Worker] = {}
        self.given_up: set[tuple[str, str, float]] = set()
        self.bar = tqdm(file=sys.stderr, unit="solver", dynamic_ncols=True, leave=False)

    def worker(self, name: str) -> Worker:
        if name not in self.workers:
            self.workers[name] = Worker(name, self.args.threads)
        return self.workers[name]

    def limit(self, name: str) -> float:
        return self.args.limit / 4 if PEERS[name].slow else self.args.limit

    def note(self, info: Row, name: str) -> None:
        self.bar.set_description(f"{info['case']} reg {info['reg']:.1e} {name}")
        self.bar.update()

    def close(self) -> None:
        for worker in self.workers.values():
            worker.close()
        self.bar.close()


@contextmanager
def session(args: argparse.Namespace, total: int) -> Iterator[Session]:
    s = Session(args)
    s.bar.total = total
    try:
        yield s
    finally:
        s.close()


def repeats(seconds: float, most: int) -> int:
    """Fewer repeats of slow solves: noise shrinks with the length of a run."""
    if seconds > 5.0:
        return 1
    return max(2, min(most, int(4.0 / seconds))) if most > 1 else 1


def to_accuracy(s: Session, build: Build, info: Row, names: list[str], tol: float) -> list[Row]:
    """Calibrate every solver, then time those that reach ``tol`` in turn: A B C, A B C, ..."""
    family = re.sub(r"-\d+", "", info["case"])
    replies: dict[str, Reply] = {}
    for name in names:
        s.note(info, name)
        key = (name, family, info["reg"])
        if key in s.given_up:
            replies[name] = Reply("not run: over limit at a smaller n")
            continue
        replies[name] = s.worker(name).calibrate(build, tol, s.limit(name), plan=True)
        if replies[name].status == "over limit" and PEERS[name].slow:
            s.given_up.add(key)
    good = [name for name in names if replies[name].status == "ok"]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(s.args.repeats):
        for name in good:
            if turn < repeats(replies[name].seconds, s.args.repeats):
                reply = replies[name]
                again = (
                    s.worker(name)
                    .solve(build, reply.setting, limit=2 * s.limit(name), plan=True)
                    .judged(tol)
                )
                seconds[name].append(again.seconds)
                reply.error = max(reply.error, again.error)
                if again.status != "ok":
                    reply.status = again.status
    for name in names:
        if not seconds[name] and math.isfinite(replies[name].seconds):
            seconds[name] = [replies[name].seconds]
    return [row_of(info, name, tol, replies[name], seconds[name]) for name in names]


def mark_disagreement(rows: list[Row]) -> None:
    """A met marginal is not enough: all entropic plans of one problem must cost the same."""
    good = [r for r in rows if r["status"] == "ok" and PEERS[r["solver"]].group != "exact"]
    costs = sorted(r["cost"] for r in good)
    for r in good:
        if abs(r["cost"] - costs[len(costs) // 2]) > 100 * r["tol"]:
            r["status"] = "failed: wrong cost"


def entropic(args: argparse.Namespace, builds: list[Build]) -> list[Row]:
    rows: list[Row] = []
    solvers = installed(ENTROPIC, args.solvers)
    with session(args, len(builds) * len(solvers)) as s:
        for build in builds:
            info = describe(build)
            new = to_accuracy(s, build, info, solvers, args.tol)
            if (info["case"], info["reg"]) in CURVE_CASES:
                names = [r["solver"] for r in new if r["status"] == "ok" and r["tol"] == args.tol]
                names = [name for name in names if PEERS[name].group != "exact"]
                s.bar.total += len(names) * len(CURVE_TOLS)
                for tol in CURVE_TOLS:
                    new += to_accuracy(s, build, info, names, tol)
            for tol in {r["tol"] for r in new}:
                mark_disagreement([r for r in new if r["tol"] == tol])
            rows += new
    return rows


def iteration(args: argparse.Namespace, builds: list[Build]) -> list[Row]:
    """Seconds of one iteration: (time of N2 - time of N1) / (N2 - N1), so that set-up cancels."""
    rows, solvers = [], installed(ITERATION)
    with session(args, len(builds) * len(solvers)) as s:
        for build in builds:
            info = describe(build)
            names = [n for n in solvers if info["d"] is None or n == "ot_fast log"]
            s.bar.total -= len(solvers) - len(names)
            rows += one_iteration(s, build, info, names)
    return rows


def one_iteration(s: Session, build: Build, info: Row, names: list[str]) -> list[Row]:
    def solve(name: str, max_iter: int) -> Reply:
        worker = s.worker(name)
        return worker.solve(build, 0.0, max_iter=max_iter, limit=s.args.limit, checked=False)

    first = 20  # POT tests its error every 10 iterations: both counts are multiples of 10
    lengths, replies = {}, {}
    for name in names:
        s.note(info, name)
        solve(name, first)
        replies[name] = short = solve(name, first)
        double = solve(name, 2 * first)
        each = max(double.seconds - short.seconds, 0.1 * double.seconds) / first
        lengths[name] = first + 10 * max(1, min(400, round(0.04 / each)))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(s.args.repeats):
        for name in names:
            short, long = solve(name, first), solve(name, lengths[name])
            if short.status == long.status == "ok":
                each = (long.seconds - short.seconds) / (long.n_iter - short.n_iter)
                seconds[name].append(each)
            else:
                replies[name] = long
    return [row_of(info, name, 0.0, replies[name], seconds[name]) for name in names]


def memory(args: argparse.Namespace, builds: list[Build]) -> list[Row]:
    """Peak memory of one solve beyond what was there before it, in a process of its own."""
    rows, solvers, on_clouds = [], *(installed(v, args.solvers) for v in (MEMORY, LARGE))
    with session(args, len(builds) * len(solvers)) as s:
        for build in builds:
            info = describe(build)
            dense = info["d"] is None
            for name in solvers if dense else on_clouds:
                s.note(info, name)
                worker = Worker(name, args.threads)
                try:  # a small solve first: libraries and thread pools are not the solver's memory
                    worker.solve(partial(cases.gauss, 200, 1e-2, dense=dense), args.tol)
                    if dense or PEERS[name].group == "ours":
                        reply = worker.calibrate(build, args.tol, args.limit, plan=False)
                    else:
                        limit = 10 * args.limit
                        reply = worker.solve(build, args.tol, max_iter=10, limit=limit)
                        reply = reply.judged(args.tol)
                finally:
                    worker.close()
                rows.append(row_of(info, name, args.tol, reply, [reply.seconds]))
    return rows


def large(args: argparse.Namespace, builds: list[Build]) -> list[Row]:
    """Clouds whose cost does not fit in memory; peers run 10 iterations, where they can at all."""
    rows, solvers = [], installed(LARGE, args.solvers)
    small = partial(cases.gauss, 200, 1e-2, d=3, dense=False)
    with session(args, len(builds) * len(solvers)) as s:
        for build in builds:
            info = describe(build)
            for name in solvers:
                s.note(info, name)
                ours = PEERS[name].group == "ours"
                if not ours and info["n"] > PEER_LARGE_N:
                    continue
                worker, most = s.worker(name), 10**6 if ours else 10
                worker.solve(small, args.tol, max_iter=most)  # compilation apart
                reply = worker.solve(build, args.tol, max_iter=most, limit=args.limit)
                reply = reply.judged(args.tol)
                rows.append(row_of(info, name, args.tol, reply, [reply.seconds]))
    return rows


# suite -> (function, target error, seconds allowed to one solve)
SUITES = {
    "iteration": (iteration, 0.0, 60.0),
    "entropic": (entropic, 1e-9, 12.0),
    "memory": (memory, 1e-6, 20.0),
    "large": (large, 1e-6, 600.0),
}
