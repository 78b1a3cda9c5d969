"""``python -m tests.stress``: solves drawn problems until the time is up, and counts outcomes.

Exits with 1 where a case is neither right, nor flagged or refused with a true reason. Case k of a
seed is ``seed * 1_000_000 + k``; ``--case`` repeats one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from .checks import OUTCOMES
from .worker import RESOLVED, Worker

GOOD = ("right", "flagged", "refused")


def report(record: dict[str, Any]) -> str:
    """A case in a few lines."""
    lines = [f"{record['outcome'].upper():9} {record['text']}"]
    lines += [f"          {outcome}: {text}" for outcome, text in record["found"]]
    return "\n".join(lines)


def table(records: list[dict[str, Any]], key: str) -> dict[str, dict[str, int]]:
    """Outcomes counted by solver or kind."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for r in records:
        counts[r[key]][r["outcome"]] += 1
    return {name: dict(counts[name]) for name in sorted(counts)}


def summary(records: list[dict[str, Any]]) -> dict[str, Any]:
    """All counts, and how many converged of those that are asked to."""
    asked = [r for r in records if r["asked"] and r["converged"] is not None]
    shares = {}
    for name in sorted({r["solver"] for r in asked}):
        of = [r["converged"] for r in asked if r["solver"] == name]
        shares[name] = [sum(of), len(of)]
    return {
        "cases": len(records),
        "outcomes": dict(Counter(r["outcome"] for r in records)),
        "converged": [sum(r["converged"] for r in asked), len(asked)],
        "converged by solver": shares,
        "by solver": table(records, "solver"),
        "by kind": table(records, "kind"),
        "slowest": max((r["seconds"] for r in records), default=0.0),
    }


def show(found: dict[str, Any]) -> None:
    """The counts as tables."""
    names = [o for o in OUTCOMES if o in found["outcomes"]]
    for title in ("by solver", "by kind"):
        print(f"\n{title[3:]:32}" + "".join(f"{n:>10}" for n in names) + " converged")
        for name, counts in found[title].items():
            share = found["converged by solver"].get(name)
            print(
                f"{name:32}"
                + "".join(f"{counts.get(n, 0):10}" for n in names)
                + (f" {share[0]}/{share[1]}" if share else "")
            )
    done, asked = found["converged"]
    print(
        f"\n{found['cases']} cases; of those with reg >= {RESOLVED:g} of the largest cost "
        f"{done} of {asked} converged ({100 * done / max(asked, 1):.2f} %); "
        f"the slowest took {found['slowest']:.1f} s"
    )
    print(found["outcomes"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after this time")
    parser.add_argument("--cases", type=int, default=1_000_000, help="or after so many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, action="append", help="only this one; repeatable")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="counts and all bad cases, as JSON")
    given = parser.parse_args()
    os.environ["OT_FAST_NUM_THREADS"] = str(given.threads)
    first = given.seed * 1_000_000
    numbers = given.case or range(first, first + given.cases)
    try:
        from tqdm import tqdm

        numbers = tqdm(numbers, file=sys.stderr, mininterval=5, disable=None)
    except ImportError:
        pass
    worker, records, end = Worker(), [], time.monotonic() + given.seconds
    for number in numbers:
        records.append(worker.solve(number))
        if given.case or records[-1]["outcome"] not in GOOD:
            print(report(records[-1]), flush=True)
        if not given.case and time.monotonic() > end:
            break
    worker.close()
    found = summary(records)
    show(found)
    if given.out is not None:
        bad = [r for r in records if r["outcome"] not in ("right", "refused")]
        given.out.write_text(json.dumps(found | {"cases not right": bad}, indent=1))
    return int(any(r["outcome"] not in GOOD for r in records))


if __name__ == "__main__":
    sys.exit(main())
