"""The table of every suite."""

from __future__ import annotations

import math
import statistics

from .peers import PEERS
from .report import (
    Row,
    by_problem,
    duration,
    label,
    median,
    number,
    percent,
    ratio,
    spread,
    table,
)  # fmt: skip


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
