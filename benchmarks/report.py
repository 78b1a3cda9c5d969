"""Tables, JSON and plots of one run."""

from __future__ import annotations

import datetime
import json
import math
import os
import platform
import re
import statistics
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .peers import PEERS

Row = dict[str, Any]

PACKAGES = (
    "ot-fast", "numpy", "scipy", "POT", "regot", "ott-jax", "jax", "torch", "curegot",
    "flash-sinkhorn", "mdot-tnt",
)  # fmt: skip


def package_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(threads: int) -> Row:
    """What a reader needs to judge the figures."""
    import ot_fast as otf

    info = otf.info()
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    match = re.search(r"model name\s*:\s*(.+)", text)
    numbers = re.findall(r"^(?:cpu family|model)\s*:\s*(\d+)", text, re.MULTILINE)[:2]
    return {
        "cpu": match[1] if match else platform.processor(),
        "cpu_family_model": "-".join(numbers),
        "cpus": os.cpu_count(),
        "isa": info["isa"],
        "threads": threads,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": package_versions(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


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


def entropic_table(result: Row) -> str:
    lines = []
    # Problems at the target first, then the looser targets of the plot of time against error.
    problems = sorted(by_problem(result["rows"]).items(), key=lambda p: p[0][2] != result["tol"])
    for _, solvers in problems:
        ours = solvers.get("ot_fast")
        for row in sorted(solvers.values(), key=lambda r: (r["status"] != "ok", median(r))):
            time = duration(median(row))
            time = time if row["status"] == "ok" or time == "-" else f"({time})"
            lines.append(
                [
                    f"{label(row)}, tol {row['tol']:g}",
                    row["solver"],
                    time,
                    percent(spread(row)),
                    ratio(row, ours),
                    "-" if row["n_iter"] is None else str(row["n_iter"]),
                    number(row["error"], ".1e"),
                    number(row["cost"], ".9g"),
                    row["status"],
                ]
            )
    names = ["case", "solver", "time", "+-", "/ ot_fast", "its", "L1 error", "<C, P>", "status"]
    return table(names, lines) + "\n\n" + entropic_summary(result)


def best_ratio(solvers: dict[str, Row], groups: set[str]) -> tuple[float, bool] | None:
    """Time of the best solver of these groups over ours, and whether that is a lower bound."""
    ours = solvers.get("ot_fast")
    rows = [r for r in solvers.values() if PEERS[r["solver"]].group in groups]
    done = [median(r) for r in rows if r["status"] == "ok"]
    # A peer stopped at its limit may have been about to finish: nothing better can be claimed.
    stopped = [median(r) for r in rows if r["status"] == "over limit"]
    if ours is None or ours["status"] != "ok" or not (done or stopped):
        return None
    best = min(done + stopped)
    return best / median(ours), best not in done


def entropic_summary(result: Row) -> str:
    problems = by_problem(r for r in result["rows"] if r["tol"] == result["tol"])
    small = {k: v for k, v in problems.items() if k[1] <= 1e-3}
    moderate = {k: v for k, v in problems.items() if k[1] >= 1e-2}
    sinkhorn = {
        k: {name: r for name, r in v.items() if name in ("ot_fast", "POT sinkhorn")}
        for k, v in moderate.items()
    }
    lines = []
    for text, chosen, groups in (
        ("reg <= 1e-3: best of regot / ot_fast", small, {"regot"}),
        ("reg <= 1e-3: best entropic peer / ot_fast", small, {"regot", "peer"}),
        ("reg <= 1e-3: POT emd (exact) / ot_fast", small, {"exact"}),
        ("reg >= 1e-2: POT sinkhorn / ot_fast", sinkhorn, {"peer"}),
        ("reg >= 1e-2: best entropic peer / ot_fast", moderate, {"regot", "peer"}),
        ("reg >= 1e-2: POT emd (exact) / ot_fast", moderate, {"exact"}),
    ):
        found = [r for v in chosen.values() if (r := best_ratio(v, groups)) is not None]
        if not found:
            continue
        values = [r for r, _ in found]
        lines.append(
            [
                text,
                f"{statistics.geometric_mean(values):.2f}x",
                f"{min(values):.2f}x",
                f"{max(values):.1f}x",
                f"{sum(v > 1 for v in values)} of {len(values)}",
                str(sum(bound for _, bound in found)),
            ]
        )
    header = ["ratio of times", "geometric mean", "least", "most", "ot_fast faster in"]
    return table([*header, "only bounds (peers over limit)"], lines, gaps=False)


def floor(row: Row, best: Row) -> tuple[float, str]:
    """Least seconds that this method's arithmetic and memory traffic need, and what sets it."""
    entries = row["n"] * row["m"]
    size = "f32" if row["case"].endswith("float32") else "f64"
    exp = entries / best[f"exp_{size}_G"] / 1e9
    if row["d"] is not None:
        fma = entries * row["d"] / best[f"fma_{size}_G"] / 1e9
        return max((exp, "exp"), (fma, "FMA"))

    def read(nbytes: int) -> float:
        return nbytes / best["read_GBps_at_bytes"][str(nbytes)] / 1e9

    full = row["C_bytes"]
    if row["solver"] == "ot_fast float32 kernel":
        return read(full // 2), "memory"
    if row["solver"] == "ot_fast float64 kernel":
        return read(full), "memory"
    if "log" in row["solver"]:
        return max((exp, "exp"), (read(full), "memory"))
    return 2 * read(full), "memory"


def iteration_table(result: Row) -> str:
    lines = []
    for solvers in by_problem(result["rows"]).values():
        for row in solvers.values():
            each = median(row)
            least, what = floor(row, result["limits"])
            other = [solvers.get(name) for name in ("POT sinkhorn", "POT log")]
            lines.append(
                [
                    row["case"],
                    row["solver"],
                    duration(each),
                    percent(spread(row)),
                    *(number(median(o) / each, ".2f", "x") if o else "-" for o in other),
                    number(row["n"] * row["m"] / each / 1e9, ".3g"),
                    f"{duration(least)} ({what})",
                    percent(least / each),
                    row["status"],
                ]
            )
    header = ["case", "solver", "iteration", "+-", "POT sinkhorn /", "POT log /", "Gentries/s"]
    return table([*header, "limit of the method", "of limit", "status"], lines)


def memory_table(result: Row) -> str:
    lines = []
    for row in result["rows"]:
        more = ">= " if row["status"] == "over limit" else ""
        peak = row["peak_bytes"]
        lines.append(
            [
                label(row),
                row["solver"],
                "-" if peak is None else f"{more}{peak / 1e6:.1f} MB",
                "-" if peak is None else f"{more}{peak / row['C_bytes']:.3f}",
                duration(median(row)),
                number(row["error"], ".1e"),
                row["status"],
            ]
        )
    header = ["case", "solver", "peak beyond C", "/ size of C", "time", "L1 error", "status"]
    return table(header, lines)


def large_table(result: Row) -> str:
    best = result["limits"]["exp_f64_G"]
    lines = []
    for row in result["rows"]:
        done = row["n_iter"] and math.isfinite(median(row)) and row["status"] != "over limit"
        each = median(row) / row["n_iter"] if done else math.nan
        rate = row["n"] * row["m"] / each / 1e9
        peak = row["peak_bytes"]
        lines.append(
            [
                label(row),
                row["solver"],
                duration(median(row)),
                str(row["n_iter"]),
                duration(each),
                number(rate, ".3g"),
                percent(rate / best) if row["solver"].startswith("ot_fast") else "-",
                number(row["error"], ".1e"),
                number(row["cost"], ".9g"),
                "-" if peak is None else f"{peak / 1e6:.0f} MB",
                row["status"],
            ]
        )
    header = ["case", "solver", "time", "its", "iteration", "Gentries/s", "of exp limit"]
    return table([*header, "L1 error", "<C, P>", "peak", "status"], lines)


TABLES = {
    "iteration": iteration_table,
    "entropic": entropic_table,
    "memory": memory_table,
    "large": large_table,
}


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


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def load(path: Path) -> Row:
    """A result written by ``write``."""
    result = json.loads(path.read_text())
    for row in result["rows"]:
        for name in ("error", "cost", "setting"):
            row[name] = math.nan if row[name] is None else row[name]
        row["seconds"] = [math.nan if s is None else s for s in row["seconds"]]
    return result


def write(result: Row, out: Path) -> None:
    from . import plots

    out.mkdir(parents=True, exist_ok=True)
    stem = result["suite"] + ("-quick" if result["quick"] else "")
    (out / f"{stem}.json").write_text(json.dumps(_finite(result), indent=1) + "\n")
    text = heading(result) + "\n" + TABLES[result["suite"]](result)
    (out / f"{stem}.txt").write_text(text + "\n")
    print(text)
    for path in plots.draw(result, out / stem):
        print(f"wrote {path}")
    print(f"wrote {out / stem}.json")
