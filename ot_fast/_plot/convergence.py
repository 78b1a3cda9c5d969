"""How a solve converged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from .style import (
    ACCENT,
    BAND,
    MUTED,
    SOURCE,
    note,
    plural,
    scientific,
    seconds,
    thousands,
    whole_ticks,
)

if TYPE_CHECKING:
    from .._results import OTResult

Array = NDArray[Any]


def draw_convergence(axes: Axes, result: OTResult) -> None:
    """Draw the marginal error against passes, one band for each stage of reg scaling."""
    h = result.history
    passes, error, reg, elapsed = (
        np.asarray(v, dtype=np.float64) for v in (h["n_iter"], h["error"], h["reg"], h["elapsed"])
    )
    axes.set_title("Convergence", loc="left")
    axes.set_xlabel("passes over the cost")
    axes.set_ylabel("marginal error")
    drawn = np.isfinite(error) & (error > 0)
    if not drawn.any():
        _say_nothing_to_draw(axes, result)
        return

    axes.set_yscale("log")
    _set_error_limits(axes, error[drawn], result.tol)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(reg) != 0) + 1])
    edges = np.append(passes[starts] - 0.5, passes[-1] + 0.5)
    axes.set_xlim(edges[0], edges[-1])
    crowded = starts.size > 2 and edges[-2] - edges[0] < 0.2 * (edges[-1] - edges[0])
    if crowded and passes[-1] > 80:
        axes.set_xscale("log")  # else the stages of reg would be squeezed into a corner
        axes.xaxis.set_major_formatter(thousands)
    else:
        whole_ticks(axes)
    _draw_stages(axes, edges, reg[starts])
    marks: dict[str, Any] = {"marker": "o", "markersize": 3.2} if passes.size <= 120 else {}
    shown = np.where(drawn, error, np.nan)
    axes.plot(passes, shown, color=SOURCE, linewidth=1.5, zorder=3, clip_on=False, **marks)
    if result.tol > 0:
        axes.axhline(result.tol, color=ACCENT, linewidth=0.9, linestyle=(0, (5, 3)), zorder=2)
        axes.annotate(
            f"tol = {scientific(result.tol)}",
            (0.0, result.tol),
            xycoords=("axes fraction", "data"),
            xytext=(5, -4),
            textcoords="offset points",
            va="top",
            color=ACCENT,
            fontsize=9.5,
        )
    done = f"{plural(result.n_iter, 'pass', 'passes')}, {seconds(float(elapsed[-1]))}"
    note(axes, f"error {scientific(result.marginal_error)} after {done}")


def _say_nothing_to_draw(axes: Axes, result: OTResult) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    text = f"marginal error {scientific(result.marginal_error)} after "
    text += plural(result.n_iter, "pass", "passes")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=MUTED)


def _set_error_limits(axes: Axes, error: Array, tol: float) -> None:
    """Leave room above the curve for the names of the stages, below for that of the tolerance."""
    low, high = np.log10(error.min()), np.log10(error.max())
    if tol > 0:
        low, high = min(low, np.log10(tol)), max(high, np.log10(tol))
    span = max(high - low, 1.0)
    axes.set_ylim(10.0 ** (low - 0.09 * span), 10.0 ** (high + 0.16 * span))


def _draw_stages(axes: Axes, edges: Array, reg: Array) -> None:
    """Shade every second stage and name its reg where there is room for the text."""
    to_axes = axes.transData + axes.transAxes.inverted()
    height = axes.get_ylim()[0]
    across = to_axes.transform(np.stack([edges, np.full(edges.size, height)], axis=1))[:, 0]
    middles = np.clip((across[:-1] + across[1:]) / 2, 0.03, 0.97)
    named_to = -1.0
    for k in reversed(range(reg.size)):
        # Counted from the last stage, so that the one that matters is always the white one.
        if (reg.size - 1 - k) % 2:
            axes.axvspan(edges[k], edges[k + 1], color=BAND, linewidth=0, zorder=0)
        if named_to >= 0 and named_to - middles[k] < 0.09:
            continue
        named_to = middles[k]
        value = float(reg[k])
        name = f"{value:.2g}" if 1e-3 <= value < 0.01 else scientific(value)
        axes.text(
            middles[k],
            0.975,
            f"reg\n{name}",
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize=8.5,
            linespacing=1.15,
            color=MUTED,
        )
