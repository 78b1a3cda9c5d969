"""Plots of one run: time against error, time against n, ratios, share of the machine's limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from ot_fast._plot.style import BAND, STYLE, scientific

from . import report, tables
from .peers import PEERS

Row = dict[str, Any]

# One colour a package (Okabe-Ito: readable without colour vision), one marker and dash a solver.
STYLES: dict[str, dict[str, Any]] = {
    "ot_fast": {"color": "#D55E00", "marker": "o", "lw": 2.4, "zorder": 5},
    "ot_fast float64 kernel": {"color": "#D55E00", "marker": "o", "lw": 2.4, "zorder": 5},
    "ot_fast float32 kernel": {"color": "#D55E00", "marker": "s", "ls": "--", "lw": 2.4},
    "ot_fast scaling": {"color": "#D55E00", "marker": "s", "ls": "--"},
    "ot_fast log": {"color": "#D55E00", "marker": "^", "ls": ":"},
    "ot_fast newton": {"color": "#E69F00", "marker": "v", "ls": "-."},
    "POT sinkhorn": {"color": "#0072B2", "marker": "o"},
    "POT stabilized": {"color": "#0072B2", "marker": "s", "ls": "--"},
    "POT log": {"color": "#0072B2", "marker": "^", "ls": ":"},
    "POT lazy": {"color": "#0072B2", "marker": "v", "ls": ":"},
    "POT emd": {"color": "#333333", "marker": "D", "ls": "-."},
    "regot ssns": {"color": "#009E73", "marker": "o"},
    "regot splr": {"color": "#009E73", "marker": "s", "ls": "--"},
    "regot bcd": {"color": "#009E73", "marker": "^", "ls": ":"},
    "OTT log": {"color": "#CC79A7", "marker": "^", "ls": ":"},
    "OTT kernel": {"color": "#CC79A7", "marker": "s", "ls": "--"},
    "two gemv": {"color": "#888888", "marker": "x", "ls": "--"},
}

RC = STYLE | {
    "axes.grid": True,
    "grid.color": "#e8eaed",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.markersize": 4.5,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "savefig.bbox": "tight",
}


def _name(solver: str) -> str:
    return f"{solver} (exact)" if PEERS[solver].group == "exact" else solver


def _grid(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(3.0 * columns, 2.6 * lines), squeeze=False, layout="constrained"
    )
    flat = list(axes.flat)
    for ax in flat[count:]:
        ax.remove()
    return fig, flat[:count]


def _legend(fig: Figure, axes: list[Axes]) -> None:
    """One row of names under the panels."""
    handles = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    order = [_name(s) for s in STYLES if _name(s) in handles]
    order += [name for name in handles if name not in order]
    columns = max(1, int(fig.get_figwidth() / 1.4))
    fig.legend([handles[n] for n in order], order, loc="outside lower center", ncols=columns)


def _y_label(axes: list[Axes], text: str) -> None:
    """Name the unit beside the first panel of each row alone."""
    for ax in axes:
        if ax.get_subplotspec().is_first_col():
            ax.set_ylabel(text)


def _ticks_at(ax: Axes, sizes: Iterable[int]) -> None:
    ticks = sorted(sizes)
    ax.set_xticks(ticks, [f"{n:,}" for n in ticks], minor=False)
    ax.set_xticks([], minor=True)


def _line(ax: Axes, rows: list[Row], x: Callable[[Row], float]) -> None:
    """Median with the range of the repeats."""
    rows = sorted(rows, key=x)
    if not rows:
        return
    xs, ys = [x(r) for r in rows], [report.median(r) for r in rows]
    solver = rows[0]["solver"]
    ax.plot(xs, ys, label=_name(solver), **STYLES[solver])
    low, high = zip(*((min(r["seconds"]), max(r["seconds"])) for r in rows), strict=True)
    ax.vlines(xs, low, high, color=STYLES[solver]["color"], lw=0.8, alpha=0.6)


def _lines_by_solver(ax: Axes, rows: list[Row], x: Callable[[Row], float]) -> None:
    for solver in STYLES:
        _line(ax, [r for r in rows if r["solver"] == solver], x)
    ax.set(xscale="log", yscale="log")
    ax.yaxis.set_minor_formatter(NullFormatter())


def time_against_error(result: Row) -> Figure | None:
    done = [r for r in result["rows"] if r["status"] == "ok"]
    curves = {(r["case"], r["reg"]) for r in done if r["tol"] != result["tol"]}
    if not curves:
        return None
    fig, axes = _grid(len(curves), 4)
    for ax, key in zip(axes, sorted(curves), strict=True):
        rows = [r for r in done if (r["case"], r["reg"]) == key]
        rows = [r for r in rows if PEERS[r["solver"]].group != "exact"]
        _lines_by_solver(ax, rows, lambda r: r["error"])
        ax.invert_xaxis()
        ax.set_title(report.label(rows[0]), loc="left")
        ax.set_xlabel("L1 marginal error, recomputed")
        ax.xaxis.set_major_locator(LogLocator(numticks=5))
    _y_label(axes, "seconds")
    _legend(fig, axes)
    return fig


def _family(row: Row) -> tuple[str, float]:
    return row["case"].replace(f"-{row['n']}", ""), row["reg"]


def time_against_n(result: Row) -> Figure | None:
    done = [r for r in result["rows"] if r["status"] == "ok" and r["tol"] == result["tol"]]
    sizes: dict[tuple[str, float], set[int]] = {}
    for r in done:
        sizes.setdefault(_family(r), set()).add(r["n"])
    families = [key for key, ns in sizes.items() if len(ns) > 1]
    if not families:
        return None
    fig, axes = _grid(len(families), 4)
    for ax, key in zip(axes, families, strict=True):
        rows = [r for r in done if _family(r) == key]
        _lines_by_solver(ax, rows, lambda r: r["n"])
        _ticks_at(ax, sizes[key])
        ax.set_title(report.label(rows[0]).replace(f"-{rows[0]['n']}", ""), loc="left")
        ax.set_xlabel("n")
    _y_label(axes, "seconds")
    _legend(fig, axes)
    return fig


def ratios(result: Row) -> Figure | None:
    """One line a case: how many times longer each peer takes."""
    problems = report.by_problem(r for r in result["rows"] if r["tol"] == result["tol"])
    problems = {k: v for k, v in problems.items() if v.get("ot_fast", {}).get("status") == "ok"}
    if not problems:
        return None
    fig, ax = plt.subplots(figsize=(7.2, 0.21 * len(problems) + 1.2), layout="constrained")
    first = [next(iter(v.values())) for v in problems.values()]
    families = list(dict.fromkeys(_family(r)[0].split("-")[0] for r in first))
    for i, row in enumerate(first):
        if families.index(_family(row)[0].split("-")[0]) % 2 == 0:
            ax.axhspan(i - 0.5, i + 0.5, color=BAND, lw=0, zorder=0)
    for i, solvers in enumerate(problems.values()):
        ours = report.median(solvers["ot_fast"])
        for solver, row in solvers.items():
            if PEERS[solver].group == "ours":
                continue
            style = {k: STYLES[solver][k] for k in ("color", "marker")}
            if row["status"] == "ok":
                ax.plot(report.median(row) / ours, i, ls="", label=_name(solver), **style)
            elif row["status"] == "over limit":
                at_least = {"color": style["color"], "marker": ">", "mfc": "none", "alpha": 0.5}
                ax.plot(report.median(row) / ours, i, ls="", **at_least)
    ax.plot([], [], ls="", color="#888888", marker=">", mfc="none", label="stopped at its limit")
    ax.axvline(1.0, color="#D55E00", lw=2.0)
    ax.set_yticks(range(len(problems)), [report.label(r) for r in first])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=False)
    ax.set(xscale="log", ylim=(len(problems) - 0.5, -0.5))
    ax.set_xlabel(f"time / time of ot_fast, both to an L1 error of {scientific(result['tol'])}")
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}\N{MULTIPLICATION SIGN}")
    _legend(fig, [ax])
    return fig


def time_of_iteration(result: Row) -> Figure | None:
    rows = [r for r in result["rows"] if r["d"] is None and r["seconds"]]
    if not rows:
        return None
    fig, axes = _grid(2, 2)
    _lines_by_solver(axes[0], rows, lambda r: r["n"])
    axes[0].set_title("One iteration, dense cost", loc="left")
    axes[0].set_ylabel("seconds")
    for solver in STYLES:
        mine = sorted((r for r in rows if r["solver"] == solver), key=lambda r: r["n"])
        if mine:
            share = [tables.floor(r, result["limits"])[0] / report.median(r) for r in mine]
            axes[1].plot([r["n"] for r in mine], share, label=_name(solver), **STYLES[solver])
    axes[1].axhline(1.0, color="black", lw=0.8)
    axes[1].set_title("Share of the method's limit", loc="left")
    axes[1].set(xscale="log", ylim=(0, None))
    axes[1].yaxis.set_major_formatter(PercentFormatter(1.0))
    for ax in axes:
        ax.set_xlabel("n")
        _ticks_at(ax, {r["n"] for r in rows})
    _legend(fig, axes)
    return fig


def bars(result: Row) -> Figure | None:
    """Peak memory beyond C (suite memory) or entries per second (suite large)."""
    memory = result["suite"] == "memory"
    problems = report.by_problem(result["rows"])
    fig, axes = _grid(len(problems), 2)
    for ax, solvers in zip(axes, problems.values(), strict=True):
        for i, (solver, row) in enumerate(solvers.items()):
            if memory:
                value = (row["peak_bytes"] or math.nan) / row["C_bytes"]
            else:
                value = row["n"] * row["m"] * (row["n_iter"] or math.nan) / report.median(row) / 1e9
            over = row["status"] == "over limit"
            ax.barh(i, value, color=STYLES[solver]["color"], alpha=0.35 if over else 1.0)
            text = f" {value:.2g}{'+' if over else ''}" if math.isfinite(value) else " over limit"
            ax.text(value if math.isfinite(value) else 0.0, i, text, va="center", fontsize=7)
        ax.set_yticks(range(len(solvers)), list(solvers))
        ax.set_ylim(len(solvers) - 0.4, -0.6)
        ax.margins(x=0.12)
        ax.grid(axis="y", visible=False)
        first = next(iter(solvers.values()))
        x = "peak memory beyond C / size of C" if memory else "entries of C per second, 1e9"
        ax.set_title(report.label(first), loc="left")
        ax.set_xlabel(x)
    return fig


FIGURES: dict[str, dict[str, Callable[[Row], Figure | None]]] = {
    "entropic": {"error": time_against_error, "n": time_against_n, "ratios": ratios},
    "iteration": {"n": time_of_iteration},
    "memory": {"peak": bars},
    "large": {"rate": bars},
}


def draw(result: Row, stem: Path) -> list[Path]:
    paths = []
    with plt.rc_context(RC):
        for name, figure in FIGURES[result["suite"]].items():
            fig = figure(result)
            if fig is not None:
                paths.append(stem.with_name(f"{stem.name}-{name}.png"))
                fig.savefig(paths[-1])
                plt.close(fig)
    return paths
