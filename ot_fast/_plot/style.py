"""Colours, matplotlib settings, and the words and ticks that all figures share."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

INK = "#22262b"
MUTED = "#7d858f"
BAND = "#eef1f5"
SOURCE = "#1f5fa8"
TARGET = "#c8553d"
ACCENT = "#c8553d"

# Set through rc_context, never globally: the caller's own style is left as it was.
STYLE: Any = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 11.0,
    "axes.titlesize": 12.0,
    "axes.labelsize": 11.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}


def whole_ticks(axes: Axes, both: bool = False) -> None:
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axis.set_major_locator(
            MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10], min_n_ticks=1)
        )
        axis.set_major_formatter(thousands)


def thousands(value: float, _position: float | None = None) -> str:
    return f"{value:,.0f}"


def matrix_axes(axes: Axes, n: int, m: int) -> None:
    """Frame the entries of an n x m plan, row 1 on top."""
    axes.set_xlim(0.5, m + 0.5)
    axes.set_ylim(n + 0.5, 0.5)
    axes.set_aspect("auto" if max(n, m) > 4 * min(n, m) else "equal")
    axes.spines[:].set_visible(True)
    axes.set_title(f"Plan, {n:,} \N{MULTIPLICATION SIGN} {m:,}", loc="left")
    whole_ticks(axes, both=True)


def note(axes: Axes, text: str) -> None:
    """Write a remark at the right end of the title's line."""
    axes.set_title(text, loc="right", fontsize=9.5, color=MUTED)


def scientific(value: float) -> str:
    """Return a number in two digits, as mathtext ``3.2 x 10^-7`` where it is small or large."""
    if value == 0 or not np.isfinite(value) or 0.01 <= abs(value) < 1000:
        return f"{value:.2g}"
    digits, exponent = f"{value:.1e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if digits == "1.0" else rf"${digits}\times {power}$"


def seconds(value: float) -> str:
    if value < 1e-3:
        return f"{1e6 * value:.0f} \N{MICRO SIGN}s"
    if value < 1.0:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
