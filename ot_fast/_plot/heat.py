"""The plan as a heat map."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray

from .._geometry import PointCloud, points_of
from .style import matrix_axes, note

if TYPE_CHECKING:
    from .._results import OTResult

Array = NDArray[Any]

_CELLS = 320  # cells a side beyond which the map shows the means of blocks
_CHUNK = 1 << 22  # plan entries held at once while blocks are summed


def draw_heat(axes: Axes, result: OTResult) -> None:
    heat, ordered = _block_means(result)
    ramp = ["#ffffff", "#cfe0f1", "#7fb0d9", "#2f77b5", "#12305a"]
    colours = LinearSegmentedColormap.from_list("ot_fast", ramp)
    # The shade is the square root of an entry, so that small ones can be seen, relative to the
    # 99.9 % quantile, so that a single large one does not make all others pale.
    peak = float(np.quantile(heat, 0.999)) or float(heat.max())
    shade = np.sqrt(np.minimum(heat / peak, 1.0)) if peak > 0 else heat
    n, m = (int(s) for s in result.geometry.shape)
    axes.imshow(
        shade,
        cmap=colours,
        vmin=0.0,
        vmax=1.0,
        extent=(0.5, m + 0.5, n + 0.5, 0.5),
        interpolation="nearest",
    )
    matrix_axes(axes, n, m)
    along = ", sorted along the first principal axis" if ordered else ""
    axes.set_xlabel(f"target{along}")
    axes.set_ylabel(f"source{along}")
    if heat.shape != (n, m):
        note(axes, f"means of {heat.shape[0]} \N{MULTIPLICATION SIGN} {heat.shape[1]} blocks")


def _block_means(result: OTResult) -> tuple[Array, bool]:
    """Average the plan over blocks, a few rows of it at a time.

    Points have no order of their own: those of a cloud are sorted along their first principal
    axis. The second value says whether they were.
    """
    geometry = result.geometry
    n, m = (int(s) for s in geometry.shape)
    rows, cols = np.arange(n), np.arange(m)
    if isinstance(geometry, PointCloud):
        rows, cols = _point_order(geometry.x, geometry.y)
    row_edges = np.linspace(0, n, min(n, _CELLS) + 1).astype(np.int64)
    col_edges = np.linspace(0, m, min(m, _CELLS) + 1).astype(np.int64)
    heat = np.zeros((len(row_edges) - 1, len(col_edges) - 1))
    step = max(1, _CHUNK // m)
    for k, (lo, hi) in enumerate(pairwise(row_edges)):
        for start in range(int(lo), int(hi), step):
            block = _plan_rows(result, rows[start : min(start + step, int(hi))])
            heat[k] += np.add.reduceat(block.sum(axis=0)[cols], col_edges[:-1])
    # Means, not sums: blocks differ by one row or column, which sums would show as stripes.
    return heat / np.outer(np.diff(row_edges), np.diff(col_edges)), isinstance(geometry, PointCloud)


def _plan_rows(result: OTResult, rows: Array) -> Array:
    """Compute some rows of the plan from the potentials."""
    geometry = result.geometry
    if isinstance(geometry, PointCloud):
        points = points_of((geometry.x[rows], geometry.y), ("x", "y"))
        cost = PointCloud.of(*points, geometry.ground_cost).to_dense()
    else:
        cost = geometry.C[rows]
    f, g = (np.asarray(p, dtype=np.float64) for p in result.potentials)
    weight = np.asarray(result.a, dtype=np.float64)[rows, None] * np.asarray(result.b)
    with np.errstate(over="ignore", invalid="ignore"):
        block = weight * np.exp((f[rows, None] + g - cost) / result.reg)
    return np.where((weight > 0) & np.isfinite(block), block, 0.0)


def _point_order(x: Array, y: Array) -> tuple[Array, Array]:
    both = np.concatenate([x, y]).astype(np.float64)
    centre = both.mean(axis=0)
    _, vectors = np.linalg.eigh((both - centre).T @ (both - centre))
    axis = vectors[:, -1] * np.sign(vectors[np.abs(vectors[:, -1]).argmax(), -1])
    return np.argsort(x @ axis, kind="stable"), np.argsort(y @ axis, kind="stable")
