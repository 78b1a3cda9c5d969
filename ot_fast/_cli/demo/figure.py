"""The picture of the demo: photographs, their colours in the RGB cube, and the convergence."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..._plot import MUTED, STYLE, draw_convergence
from .transfer import SEED, Transfer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]


def draw(transfer: Transfer) -> Figure:
    """Draw the pictures, their colours in the RGB cube, and the convergence of the solve."""
    pictures = [transfer.source.pixels, transfer.target.pixels, transfer.output]
    ratios = [float(np.clip(p.shape[1] / p.shape[0], 0.5, 2.2)) for p in pictures]
    # Inches, from the top: a title, the photographs, a title, the lower row, a foot.
    width, margin, gap, title, lower, foot = 13.0, 0.3, 0.22, 0.42, 2.75, 0.66
    upper = min((width - 2 * margin - 2 * gap) / sum(ratios), 4.8)
    gap = (width - 2 * margin - upper * sum(ratios)) / 2
    height = title + upper + title + 0.12 + lower + foot

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=200)

        def place(left: float, bottom: float, wide: float, tall: float) -> Axes:
            return figure.add_axes((left / width, bottom / height, wide / width, tall / height))

        left = margin
        titles = ["Source", "Target", "Source recoloured"]
        for k, (pixels, ratio) in enumerate(zip(pictures, ratios, strict=True)):
            axes = place(left, height - title - upper, ratio * upper, upper)
            _draw_picture(axes, pixels)
            _head(axes, "abc"[k], titles[k])
            left += ratio * upper + gap

        cube = 2.25
        for k, (pixels, name) in enumerate(
            zip(pictures, ("source", "target", "result"), strict=True)
        ):
            _draw_cube(place(margin + k * cube, foot, cube, lower - 0.1), pixels, name)
        whole = place(margin, foot, 3 * cube, lower)
        whole.set_axis_off()
        _head(whole, "d", "Colours in the RGB cube")
        left = margin + 3 * cube + 0.8
        axes = place(left, foot, width - margin - left, lower)
        draw_convergence(axes, transfer.result)
        _head(axes, "e", axes.get_title(loc="left"))
        figure.text(margin / width, 0.19 / height, _caption(transfer), fontsize=9.5, color=MUTED)
    return figure


def _caption(transfer: Transfer) -> str:
    result = transfer.result
    n, m = (int(s) for s in result.geometry.shape)
    return (
        f"{n:,} \N{MULTIPLICATION SIGN} {m:,} pixels, squared Euclidean cost, reg = "
        f"{transfer.relative_reg:g} of the largest cost."
        f"   {result.lower_bound:.4g} \N{LESS-THAN OR EQUAL TO} OT "
        f"\N{LESS-THAN OR EQUAL TO} {result.upper_bound:.4g}"
    )


def _head(axes: Axes, letter: str, text: str) -> None:
    axes.set_title(rf"$\mathbf{{{letter}}}$   {text}", loc="left")


def _draw_picture(axes: Axes, pixels: Array) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_anchor("N")  # titles stay in line where a picture is flatter than its frame
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _draw_cube(axes: Axes, pixels: Array, name: str, points: int = 8000) -> None:
    """Scatter colours inside the RGB cube, which stands on black with white at its top."""
    across, upward, depth = _view()
    corners = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)], dtype=np.float64)
    hidden = int(np.argmin(corners @ depth))
    for i, j in combinations(range(8), 2):
        if np.abs(corners[i] - corners[j]).sum() == 1:
            edge = corners[[i, j]]
            behind = hidden in (i, j)
            axes.plot(
                edge @ across,
                edge @ upward,
                color=MUTED,
                linewidth=0.5 if behind else 0.7,
                linestyle=(0, (3, 3)) if behind else "-",
                solid_capstyle="round",
                zorder=1 if behind else 3,
            )
    for corner, letter in zip(np.eye(3), "RGB", strict=True):
        place = 1.12 * (corner - 0.5) + 0.5
        right, up = float(place @ across), float(place @ upward)
        colour = tuple(0.8 * corner)
        axes.text(right, up, letter, color=colour, fontsize=8.5, ha="center", va="center")
    colours = pixels.reshape(-1, 3)
    chosen = np.random.default_rng(SEED).choice(
        len(colours), min(points, len(colours)), replace=False
    )
    rgb = colours[chosen] / 255.0
    rgb = rgb[np.argsort(rgb @ depth, kind="stable")]
    size = float(np.clip(3000.0 / len(np.unique(rgb, axis=0)), 2.6, 40.0))
    axes.scatter(rgb @ across, rgb @ upward, c=rgb, s=size, linewidths=0, zorder=2)
    axes.set_aspect("equal", anchor="C")
    axes.set_axis_off()
    axes.text(
        0.5, -0.01, name, transform=axes.transAxes, ha="center", va="top", color=MUTED, fontsize=10
    )


def _view() -> tuple[Array, Array, Array]:
    """Return the axes of the projection, to the right, up and towards the eye.

    Greys run upwards and warm colours lie to the right: the axis along which photographs differ
    most is the one seen full length.
    """
    grey = np.array([1.0, 1.0, 1.0]) / np.sqrt(3.0)
    warm = np.array([1.0, 0.0, -1.0]) / np.sqrt(2.0)
    purple = np.array([1.0, -2.0, 1.0]) / np.sqrt(6.0)
    turn, tilt = np.deg2rad(12.0), np.deg2rad(14.0)
    across = np.cos(turn) * warm + np.sin(turn) * purple
    ahead = np.cos(turn) * purple - np.sin(turn) * warm
    return (
        across,
        np.cos(tilt) * grey - np.sin(tilt) * ahead,
        np.cos(tilt) * ahead + np.sin(tilt) * grey,
    )
