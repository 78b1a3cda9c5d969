"""Figures of results: imported by their ``plot`` method, since it needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        'plot() needs matplotlib, which is not installed: pip install "ot-fast[plot]"'
    ) from error

from .convergence import draw_convergence
from .heat import draw_heat
from .matching import draw_matching, is_matching
from .sparse import draw_counts, draw_entries
from .style import MUTED, STYLE

if TYPE_CHECKING:
    from .._results import ExactResult, OTResult, SparseResult

__all__ = ["MUTED", "STYLE", "draw_convergence", "plot_result", "plot_sparse"]

_MASS = 0.9  # fraction of an entropic plan that is drawn as lines


def plot_result(result: OTResult) -> Figure:
    """Draw the plan of an entropic result and the convergence of its solve.

    Left, the plan: a heat map, or for a one- or two-dimensional point cloud the heaviest pairs.
    Right, the marginal error against passes over the cost, with the stages of reg and the
    tolerance. The figure belongs to no window: save it with ``figure.savefig("plan.png")``.
    """
    return _figure(result, _MASS, draw_heat, draw_convergence)


def plot_sparse(result: SparseResult | ExactResult) -> Figure:
    """Draw the entries of a sparse plan, and how many every row or column has."""
    return _figure(result, 1.0, draw_entries, draw_counts)


def _figure(
    result: Any,
    mass: float,
    draw_matrix: Callable[[Axes, Any], None],
    draw_right: Callable[[Axes, Any], None],
) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6), dpi=150, layout="constrained")
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.12, h_pad=0.08)
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.12))
        if is_matching(result):
            draw_matching(left, result, mass)
        else:
            draw_matrix(left, result)
        draw_right(right, result)
    return figure
