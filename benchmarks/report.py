"""What the tables, plots and files of all suites share."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def median(row: Row) -> float:
    return statistics.median(row["seconds"]) if row["seconds"] else math.nan


def spread(row: Row) -> float:
    """Half the range of the repeats, relative to their median."""
    if len(row["seconds"]) < 2:
        return math.nan
    return (max(row["seconds"]) - min(row["seconds"])) / 2 / median(row)


def by_problem(rows: Iterable[Row]) -> dict[tuple[str, float, float], dict[str, Row]]:
    """(case, reg, tol) -> solver -> row."""
    groups: dict[tuple[str, float, float], dict[str, Row]] = {}
    for row in rows:
        groups.setdefault((row["case"], row["reg"], row["tol"]), {})[row["solver"]] = row
    return groups


# --- text


def duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def number(value: float | None, form: str = ".2f", tail: str = "") -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:{form}}{tail}"


def percent(value: float) -> str:
    return number(100 * value, ".0f", " %")


def table(header: list[str], lines: list[list[str]], gaps: bool = True) -> str:
    """Columns padded to their width; with ``gaps``, an empty line where the first one changes."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    out = ["  ".join(text.ljust(w) for text, w in zip(header, widths, strict=True)).rstrip()]
    out.append("  ".join("-" * w for w in widths))
    last = None
    for line in lines:
        if gaps and last not in (None, line[0]):
            out.append("")
        shown = [line[0] if line[0] != last else "", *line[1:]]
        out.append("  ".join(t.ljust(w) for t, w in zip(shown, widths, strict=True)).rstrip())
        last = line[0]
    return "\n".join(out)


def label(row: Row) -> str:
    reg = f"1/{1 / row['reg']:.0f}" if 1 / row["reg"] in (1200.0,) else f"{row['reg']:g}"
    return f"{row['case']}, reg {reg}"


def ratio(row: Row, ours: Row | None) -> str:
    """Time of the row over ours; ">" where the row was stopped at its time limit."""
    if ours is None or ours["status"] != "ok" or row["status"] not in ("ok", "over limit"):
        return "-"
    more = ">" if row["status"] == "over limit" else ""
    return f"{more}{median(row) / median(ours):.2f}x"


def heading(result: Row) -> str:
    m = result["machine"]
    scalars = {k: v for k, v in result["limits"].items() if isinstance(v, float)}
    best = ", ".join(f"{name} {value:.3g}" for name, value in scalars.items())
    return "\n".join(
        [
            f"suite {result['suite']}{' (quick)' if result['quick'] else ''}, {m['date']}",
            f"{m['cpu']} (family-model {m['cpu_family_model']}), {m['threads']} of {m['cpus']} "
            f"CPUs, ISA {m['isa']}, load {m['load_average']:.2f}",
            ", ".join(f"{name} {v}" for name, v in m["versions"].items()),
            f"limits of the machine in this run: {best}",
            "",
        ]
    )


def finite(value: Any) -> Any:
    """The value with None for NaN and infinities, which JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value


def load(path: Path) -> Row:
    """A result written by ``write``."""
    result = json.loads(path.read_text())
    for row in result["rows"]:
        for name in ("error", "cost", "setting"):
            row[name] = math.nan if row[name] is None else row[name]
        row["seconds"] = [math.nan if s is None else s for s in row["seconds"]]
    return result


def write(result: Row, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(finite(result), indent=1) + "\n")
