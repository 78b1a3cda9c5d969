"""The plan of a point cloud in one or two dimensions, as lines between the points."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from numpy.typing import NDArray

from .._geometry import PointCloud
from .style import INK, MUTED, SOURCE, TARGET, plural

Array = NDArray[Any]

_DENSE_ENTRIES = 4_000_000  # n m up to which the heaviest entries of a dense plan are searched for
_MAX_LINES = 3000


def is_matching(result: Any) -> bool:
    """Whether the problem is a point cloud in one or two dimensions."""
    cloud = result.geometry
    return isinstance(cloud, PointCloud) and cloud.dimension <= 2


def draw_matching(axes: Axes, result: Any, mass: float) -> None:
    """Draw the points and the heaviest pairs that hold a fraction `mass` of the plan."""
    x, y = (np.asarray(v, dtype=np.float64) for v in (result.geometry.x, result.geometry.y))
    rows, cols, masses, words = _heaviest_pairs(result, mass)
    if x.shape[1] == 1:
        x, y = x[:, 0], y[:, 0]
        ends = [np.stack([v, np.full(v.size, h)], axis=1) for v, h in ((x[rows], 1), (y[cols], 0))]
        _draw_histograms(axes, result, x, y)
    else:
        ends = [x[rows], y[cols]]
        _draw_points(axes, result, x, y)
    _add_lines(axes, np.stack(ends, axis=1), masses, ink=30.0 if x.ndim == 1 else 100.0)
    axes.set_title("Matching", loc="left")
    _legend(axes)
    axes.set_xlabel(words, fontsize=9.5, color=MUTED)


def _heaviest_pairs(result: Any, mass: float) -> tuple[Array, Array, Array, str]:
    """Return rows, columns and masses of the pairs to draw, and what they are in words."""
    n, m = (int(s) for s in result.geometry.shape)
    largest_only = mass < 1 and n * m > _DENSE_ENTRIES
    if mass == 1:
        plan = result.sparse_plan.tocoo()
    elif largest_only:
        plan = result.sparsify(top_k=1).tocoo()
    else:
        plan = result.sparsify(mass=mass).tocoo()
    rows, cols = plan.row, plan.col
    masses = np.asarray(plan.data, dtype=np.float64)
    if largest_only:
        words = f"{plural(n, 'source point', 'source points')}, each with its heaviest target"
    else:
        held = float(masses.sum() / np.sum(result.a, dtype=np.float64))
        words = f"{plural(masses.size, 'pair', 'pairs')} with {100 * held:.3g} % of the mass"
    if masses.size > _MAX_LINES:
        # Drawn at random by mass and then alike, so that their density shows the plan.
        chosen = np.random.default_rng(0).choice(
            masses.size, _MAX_LINES, replace=False, p=masses / masses.sum(), shuffle=False
        )
        rows, cols, masses = rows[chosen], cols[chosen], np.ones(_MAX_LINES)
        words = f"{_MAX_LINES:,} of {'' if largest_only else 'the '}{words}"
    order = np.argsort(masses, kind="stable")  # heaviest on top
    return rows[order], cols[order], masses[order], words


def _draw_points(axes: Axes, result: Any, x: Array, y: Array) -> None:
    edge = 0.3 if max(len(x), len(y)) <= 1000 else 0.0
    for points, weights, colour, name in (
        (x, result.a, SOURCE, "source"),
        (y, result.b, TARGET, "target"),
    ):
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=_areas(weights),
            color=colour,
            label=name,
            linewidths=edge,
            edgecolors="white",
            zorder=3,
        )
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.05)


def _draw_histograms(axes: Axes, result: Any, x: Array, y: Array) -> None:
    """Draw the masses of x above height 1 and those of y below height 0."""
    lo, hi = min(x.min(), y.min()), max(x.max(), y.max())
    if hi <= lo:
        lo, hi = lo - 0.5, hi + 0.5
    bins = np.linspace(lo, hi, int(np.clip(min(x.size, y.size) // 4, 11, 60)) + 1)
    heights = [
        np.histogram(points, bins, weights=np.asarray(weights, dtype=np.float64))[0]
        for points, weights in ((x, result.a), (y, result.b))
    ]
    peak = max(float(h.max()) for h in heights) or 1.0
    for points, height, base, sign, colour, name in (
        (x, heights[0], 1.0, 1.0, SOURCE, "source"),
        (y, heights[1], 0.0, -1.0, TARGET, "target"),
    ):
        axes.stairs(base + sign * 0.35 * height / peak, bins, baseline=base, fill=True,
                    color=colour, alpha=0.85, linewidth=0, zorder=2, label=name)  # fmt: skip
        axes.plot(points, np.full(points.size, base), "|", color=colour, markersize=5, zorder=3)
    pad = 0.02 * (hi - lo)
    axes.set_xlim(lo - pad, hi + pad)
    axes.set_ylim(-0.42, 1.42)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _add_lines(axes: Axes, segments: Array, masses: Array, ink: float) -> None:
    """Draw lines whose opacities sum to about `ink`: where there are many, their density shows."""
    if not masses.size:
        return
    share = masses / masses.max()
    colours = np.tile(to_rgba(INK), (masses.size, 1))
    colours[:, 3] = (0.25 + 0.75 * share) * min(0.6, 0.01 + ink / masses.size)
    width = 2.0 if masses.size < 300 else 1.0
    widths = width * (0.4 + 0.6 * share)
    axes.add_collection(LineCollection(list(segments), colors=colours, linewidths=widths, zorder=1))


def _areas(weights: Array) -> Array:
    """Return marker areas in proportion to weight, smaller where there are many points."""
    weights = np.asarray(weights, dtype=np.float64)
    typical = float(np.clip(4500.0 / weights.size, 0.6, 36.0))
    mean = float(weights.mean())
    return np.clip(typical * weights / mean, 0.3, 12 * typical) if mean > 0 else weights


def _legend(axes: Axes) -> None:
    legend = axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        handletextpad=0.3,
        columnspacing=1.0,
        borderaxespad=0.1,
    )
    for handle in legend.legend_handles:
        if handle is not None and hasattr(handle, "set_sizes"):
            handle.set_sizes([28.0])
