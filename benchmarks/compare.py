"""``python -m benchmarks.compare A.json B.json``: how many times faster or slower B is than A."""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

from . import report

Row = dict[str, Any]
Key = tuple[str, float, float, str]


def keyed(result: Row) -> dict[Key, Row]:
    return {(r["case"], r["reg"], r["tol"], r["solver"]): r for r in result["rows"]}


def band(old: Row, new: Row) -> tuple[float, float]:
    """Least and most that the ratio new / old can be, from the range of the repeats."""
    if len(old["seconds"]) < 2 or len(new["seconds"]) < 2:
        return 0.0, math.inf
    return min(new["seconds"]) / max(old["seconds"]), max(new["seconds"]) / min(old["seconds"])


def verdict(low: float, high: float) -> str:
    return "faster" if high < 1 else "slower" if low > 1 else "within noise"


def line(old: Row, new: Row) -> list[str]:
    if old["status"] != "ok" or new["status"] != "ok":
        times = [report.duration(report.median(r)) for r in (old, new)]
        change = "" if old["status"] == new["status"] else f"{old['status']} -> {new['status']}"
        return [report.label(new), new["solver"], f"{new['tol']:g}", *times, "-", "-", change]
    low, high = band(old, new)
    return [
        report.label(new),
        new["solver"],
        f"{new['tol']:g}",
        report.duration(report.median(old)),
        report.duration(report.median(new)),
        f"{report.median(new) / report.median(old):.3f}",
        f"{low:.2f} .. {high:.2f}",
        verdict(low, high),
    ]


def differences(a: Row, b: Row) -> list[str]:
    """What makes the two runs hard to compare."""
    names = ("cpu", "cpu_family_model", "isa", "threads", "versions")
    pairs = [(name, a["machine"][name], b["machine"][name]) for name in names]
    return [f"warning: {name} differs: {x} / {y}" for name, x, y in pairs if x != y]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("a", type=Path, metavar="A.json")
    parser.add_argument("b", type=Path, metavar="B.json")
    parser.add_argument("--solver", help="only solvers whose name contains this")
    args = parser.parse_args(argv)
    a, b = report.load(args.a), report.load(args.b)
    old, new = keyed(a), keyed(b)
    common = [k for k in new if k in old and (args.solver or "") in k[3]]
    if not common:
        parser.error("the two files have no case and solver in common")
    print("\n".join(differences(a, b)))
    header = ["case", "solver", "tol", "A", "B", "B / A", "noise band", ""]
    print(report.table(header, [line(old[k], new[k]) for k in common]))
    both = [k for k in common if old[k]["status"] == new[k]["status"] == "ok"]
    for solver in dict.fromkeys(k[3] for k in both):
        values = [report.median(new[k]) / report.median(old[k]) for k in both if k[3] == solver]
        mean = statistics.geometric_mean(values)
        print(f"\ngeometric mean of B / A, {solver}: {mean:.3f} over {len(values)}", end="")
    print()


if __name__ == "__main__":
    main()
