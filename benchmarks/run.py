"""``python -m benchmarks.run SUITE``: measure, print a table, write JSON and plots."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import psutil

from . import cases, exact, gpu, machine, monge, plots, report, sns, sparse, tables
from .suites import SUITES

Row = dict[str, Any]

OTHERS = {
    "sns": sns,
    "sparse": sparse,
    "exact": exact,
    "monge": monge,
    "gpu": gpu,
}  # each has its own `run`


def warn_if_busy(threads: int) -> dict[str, float]:
    busy = psutil.cpu_percent(2.0) * psutil.cpu_count() / 100
    load = os.getloadavg()[0]
    if busy > 0.2 or load > 0.3 * threads:
        print(
            f"warning: the machine is busy ({busy:.1f} CPUs in use, load average {load:.1f}): "
            "timings are not to be trusted",
            file=sys.stderr,
        )
    return {"busy_cpus": busy, "load_average": load}


def bandwidths(rows: list[Row], threads: int) -> dict[str, float]:
    """Read bandwidth at the size of each dense cost, and of its float32 copy."""
    sizes = {r["C_bytes"] // k for r in rows if r["d"] is None for k in (1, 2)}
    return {str(size): machine.read_GBps(size, threads) for size in sorted(sizes)}


def machine_limits(suite: str, rows: list[Row], before: dict[str, float], threads: int) -> Row:
    """The better of two measurements, before and after: a limit is what was seen at best."""
    after = machine.throughput(threads)
    best = {name: max(value, before[name]) for name, value in after.items()}
    if suite == "iteration":
        best["read_GBps_at_bytes"] = bandwidths(rows, threads)
    return best


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("suite", choices=(*SUITES, *OTHERS))
    parser.add_argument("--quick", action="store_true", help="fewer and smaller cases, minutes")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--tol", type=float, help="target L1 marginal error")
    parser.add_argument("--limit", type=float, help="seconds allowed to one solve")
    parser.add_argument(
        "--solvers", default="", help="entropic, memory, large, gpu: regex of names"
    )
    parser.add_argument(
        "--parts", default=".*", help="gpu: only these of passes|solves|sparse|gradients (a regex)"
    )
    parser.add_argument(
        "--budget", type=float, help="gpu: seconds after which no other problem is started"
    )
    parser.add_argument("--repeats", type=int, help="most repeats of one solve (7, quick: 3)")
    args = parser.parse_args(argv)
    if args.suite not in SUITES:
        return args
    _, tol, limit = SUITES[args.suite]
    args.tol = tol if args.tol is None else args.tol
    args.limit = args.limit or (limit / 4 if args.quick else limit)
    args.repeats = args.repeats or (3 if args.quick else 7)
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    if args.suite in OTHERS:
        return OTHERS[args.suite].run(args)
    load = warn_if_busy(args.threads)
    before = machine.throughput(args.threads)
    suite = SUITES[args.suite][0]
    rows = suite(args, (cases.QUICK if args.quick else cases.SUITES)[args.suite])
    result = {
        "suite": args.suite,
        "quick": args.quick,
        "tol": args.tol,
        "limit_seconds": args.limit,
        "machine": machine.describe(args.threads) | load,
        "limits": machine_limits(args.suite, rows, before, args.threads),
        "rows": rows,
    }
    write(result, args.out / (args.suite + ("-quick" if args.quick else "")))


def write(result: Row, stem: Path) -> None:
    """The table on the screen and in a file, the JSON and the plots."""
    report.write(result, stem.with_suffix(".json"))
    text = report.heading(result) + "\n" + tables.TABLES[result["suite"]](result)
    stem.with_suffix(".txt").write_text(text + "\n")
    print(text)
    for path in (*plots.draw(result, stem), stem.with_suffix(".json")):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
