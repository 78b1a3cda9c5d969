"""``python -m benchmarks.compare --base DIR --new DIR SUITE...``: two builds, interleaved.

DIR is a folder that holds an importable ``ot_fast``. Each build runs in one long-lived process; of
the two one runs at a time, in the order A B, B A, A B, ... A ratio is the median of new / base over
the turns, its spread the lower and upper quartile. The potentials of both builds are compared bit
by bit. Peers do not run.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from . import cases, machine, monge, report, sparse
from .cases import Case

Row = dict[str, Any]
Job = dict[str, Any]

ENOUGH = 0.05  # seconds: shorter solves are repeated within a turn
FIRST = 2  # iterations of the shorter of two solves whose difference is timed
LEAST = 4 * FIRST  # iterations of that difference, so that the set-up is a small part of a turn
SLOW = 0.5  # seconds of a solve from which on there are FEW turns
FEW = 7
PATH = 3  # images of a training path that starts cold
MOST = 2000  # solves, or iterations, in a turn


class Build:
    """A process that imports ``ot_fast`` from one tree."""

    def __init__(self, tree: Path, threads: int) -> None:
        worker = Path(__file__).with_name("build_worker.py")
        variables = os.environ | {"PYTHONPATH": str(tree), "OT_FAST_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=variables,
        )
        try:
            about = self.read()
            if tree.resolve() not in Path(about["path"]).resolve().parents:
                raise SystemExit(f"{tree} holds no ot_fast: {about['path']} was imported")
        except BaseException:
            self.close()
            raise
        self.isa = about["isa"]

    def read(self) -> Row:
        assert self.process.stdout is not None
        try:
            return pickle.load(self.process.stdout)
        except EOFError:
            raise SystemExit("a build ended: see its error above") from None

    def send(self, message: Any) -> None:
        assert self.process.stdin is not None
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()

    def prepare(self, job: Job) -> None:
        self.send((job, None))

    def time(self, count: int) -> Row:
        self.send((None, count))
        return self.read()

    def close(self) -> None:
        self.process.communicate()  # the end of its input ends the process


# --- what is solved: name, solver and job of every row of the table


def entropic_job(case: Case, method: str, dtype: str | None = None, **more: Any) -> Job:
    job = {"solver": "sinkhorn", "method": method, "dtype": dtype, "plan": False, "first": 0}
    return job | {k: getattr(case, k) for k in ("a", "b", "C", "x", "y", "reg")} | more


def entropic() -> Iterator[tuple[str, str, Job]]:
    for build in cases.QUICK["entropic"]:
        case = build()
        name = report.label({"case": case.name, "reg": case.reg})
        for method in ("auto", "scaling", "log", "newton"):
            options = {"tol": 1e-9, "max_iter": 10**6}
            yield name, method, entropic_job(case, method, plan=True, options=options)


def iteration() -> Iterator[tuple[str, str, Job]]:
    for build in cases.SUITES["iteration"]:
        case = build()
        methods: list[tuple[str, str | None]] = [("log", None)]
        if case.C is not None:
            methods = [("scaling", "float64"), ("scaling", "float32"), *methods]
        for method, dtype in methods:
            job = entropic_job(case, method, dtype, first=FIRST, options={"tol": 0.0})
            yield case.name, f"{dtype} kernel" if dtype else method, job


def sparse_plans() -> Iterator[tuple[str, str, Job]]:
    for case, k, axis in sparse.problems((200, 500, 1000)):
        job = {"solver": "sparse", "max_nz": k, "axis": axis, "first": 0, "options": {}}
        job |= {name: getattr(case, name) for name in ("a", "b", "C", "reg")}
        yield case.name, f"max_nz {k}" if k else "quadratic", job


def monge_gaps() -> Iterator[tuple[str, str, Job]]:
    for n in monge.SIZES:
        for d in monge.DIMENSIONS:
            x, y, reg = monge.clouds(n, d)
            job = {"solver": "monge", "x": x, "y": y, "reg": reg, "first": 0}
            job |= {"options": {"tol": monge.TOL}}
            yield f"monge-{n}, d {d}", "cold", job | {"path": []}
            yield f"monge-{n}, d {d}", "warm path", job | {"path": monge.path(y)[:PATH]}


SUITES = {
    "entropic": entropic,
    "sparse": sparse_plans,
    "iteration": iteration,
    "monge": monge_gaps,
}


# --- measuring


def measure(builds: Sequence[Build], job: Job, args: argparse.Namespace) -> Row:
    """Seconds of both builds in every turn, and whether their answers are the same bits."""
    job["options"] = {"threads": args.threads, "on_fail": "ignore"} | job["options"]
    if job["solver"] != "monge" and not job["first"]:
        job["options"]["time_limit"] = args.limit
    for build in builds:
        build.prepare(job)
    least = LEAST if job["first"] else 1
    warm = [build.time(least) for build in builds]
    if all(reply["seconds"] < SLOW for reply in warm):
        warm = [build.time(least) for build in builds]
    answers = [reply.pop("answer") for reply in warm]
    row: Row = {"same": answers[0] == answers[1], "seconds": ([], [])}
    if any(reply["status"] == "time_limit" for reply in warm):
        return row | {"status": "over limit"}
    each = max(min(reply["seconds"] for reply in warm), 1e-6)
    count = int(np.clip(ENOUGH / each, least, MOST))
    for turn in range(args.repeats if each < SLOW else min(args.repeats, FEW)):
        for k in (0, 1) if turn % 2 == 0 else (1, 0):
            row["seconds"][k].append(builds[k].time(count)["seconds"])
    ratios = [new / base for base, new in zip(*row["seconds"], strict=True)]
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    base, new = (statistics.median(s) for s in row["seconds"])
    row |= {"base": base, "new": new, "ratio": middle, "low": low, "high": high}
    return row | {"status": "ok", "solves_per_turn": count}


def measure_suites(builds: Sequence[Build], args: argparse.Namespace) -> list[Row]:
    """The rows of all suites; after an interrupt, those that are complete."""
    rows: list[Row] = []
    try:
        for suite in args.suites:
            for case, solver, job in tqdm(SUITES[suite](), desc=suite, unit="row", leave=False):
                if args.cases in case:
                    row = measure(builds, job, args)
                    rows.append({"suite": suite, "case": case, "solver": solver} | row)
    except KeyboardInterrupt:
        print("interrupted: the rows that are complete follow", file=sys.stderr)
    return rows


def line(row: Row) -> list[str]:
    name = [row["suite"], row["case"], row["solver"]]
    if row["status"] != "ok":
        return [*name, "-", "-", "-", row["status"], "-"]
    same = "same bits" if row["same"] else "answers differ"
    times = [f"{1e3 * row[k]:.4g}" for k in ("base", "new")]
    return [*name, *times, f"{row['ratio']:.3f}", f"{row['low']:.3f} .. {row['high']:.3f}", same]


def summary(rows: list[Row]) -> str:
    lines = []
    for suite in dict.fromkeys(row["suite"] for row in rows):
        mine = [row for row in rows if row["suite"] == suite]
        done = [row for row in mine if row["status"] == "ok"]
        differ = sum(not row["same"] for row in done)
        text = f"{suite:10} {len(done)} of {len(mine)} rows, {differ} with other answers"
        if done:
            text += ", geometric mean of new / base " + " .. ".join(
                f"{statistics.geometric_mean([row[k] for row in done]):.3f}"
                for k in ("low", "ratio", "high")
            )
        lines.append(text)
    return "\n".join(lines)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument(
        "suites", nargs="+", choices=SUITES, metavar="SUITE", help=", ".join(SUITES)
    )
    parser.add_argument("--base", type=Path, required=True, help="folder of the old ot_fast")
    parser.add_argument("--new", type=Path, required=True, help="folder of the new ot_fast")
    parser.add_argument("--cases", default="", help="only cases that contain this")
    parser.add_argument("--repeats", type=int, default=9, help="turns (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds of a solve beyond which "
                        "it is left out (default: %(default)s)")  # fmt: skip
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, help="write the rows to this JSON file")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> list[Row]:
    args = parse(argv)
    load = os.getloadavg()[0]
    if load > 0.3 * args.threads:
        print(f"warning: load average {load:.1f}: the times are not to be trusted", file=sys.stderr)
    with ExitStack() as stack:
        trees = (args.base, args.new)
        builds = [stack.enter_context(closing(Build(tree, args.threads))) for tree in trees]
        rows = measure_suites(builds, args)
    names = ["suite", "case", "solver", "base ms", "new ms", "new / base", "quartiles", "answers"]
    print(f"ISA {builds[0].isa} / {builds[1].isa}, {args.threads} threads, load {load:.2f}\n")
    print(report.table(names, [line(row) for row in rows]))
    print(f"\n{summary(rows)}")
    if args.out:
        result = {"machine": machine.describe(args.threads), "load_average": load, "rows": rows}
        report.write(result, args.out)
    return rows


if __name__ == "__main__":
    main()
