"""The entries of a sparse plan, and how many every row or column has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from .style import ACCENT, SOURCE, matrix_axes, note, plural, scientific, whole_ticks

if TYPE_CHECKING:
    from .._results import ExactResult, SparseResult


def draw_entries(axes: Axes, result: SparseResult | ExactResult) -> None:
    """Draw a disc for every entry, its area in proportion to the mass."""
    n, m = (int(s) for s in result.geometry.shape)
    plan = result.sparse_plan.tocoo()
    largest = float(np.clip(4e4 / max(n, m) ** 1.2, 1.0, 40.0))
    areas = np.maximum(largest * plan.data / plan.data.max(), 0.2)
    axes.scatter(
        plan.col + 1,
        plan.row + 1,
        s=areas,
        color=SOURCE,
        linewidths=0,
        rasterized=plan.nnz > 10_000,
    )
    matrix_axes(axes, n, m)
    axes.set(xlabel="target", ylabel="source")
    note(axes, plural(plan.nnz, "entry", "entries"))


def draw_counts(axes: Axes, result: SparseResult | ExactResult) -> None:
    """Draw how many rows, or columns, have how many entries, and the bound where there is one."""
    plan = result.sparse_plan.tocoo()
    one, many, lines = (
        ("row", "rows", plan.row) if result.axis == 1 else ("column", "columns", plan.col)
    )
    counts = np.bincount(lines, minlength=plan.shape[result.axis != 1])
    most = int(counts.max())
    axes.hist(counts, bins=list(np.arange(most + 2) - 0.5), color=SOURCE, rwidth=0.7)
    axes.set_xlim(0.4 if most <= 20 else counts.min() - 0.6, most + 0.6)
    if result.max_nz is not None and result.max_nz < 4 * most:
        bound = result.max_nz + 0.5
        axes.axvline(bound, color=ACCENT, linewidth=0.9, linestyle=(0, (5, 3)))
        axes.set_xlim(right=bound + 0.1)
        axes.text(bound - 0.04, axes.get_ylim()[1], f"max_nz = {result.max_nz}", color=ACCENT,
                  ha="right", va="top", fontsize=9.5)  # fmt: skip
    axes.set(xlabel=f"entries of a {one}", ylabel=many)
    axes.set_title("Sparsity", loc="left")
    note(axes, f"value {result.value:.6g}, duality gap {scientific(result.gap)}")
    whole_ticks(axes, both=True)
