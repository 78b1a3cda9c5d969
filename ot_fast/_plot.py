"""Figures: the plan or the matching of a result, and how its solve converged."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._geometry import PointCloud

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ._result import OTResult
    from ._sparse_result import SparseResult

Array = NDArray[Any]

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
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}

_HEAT_CELLS = 320  # cells a side beyond which the heat map shows the means of blocks
_MASS = 0.9  # fraction of the plan drawn as lines
_DENSE_ENTRIES = 4_000_000  # plan entries up to which that fraction is looked for
_MAX_LINES = 3000
_CHUNK = 1 << 22  # plan entries held at once while blocks are summed


def plot_result(result: OTResult) -> Figure:
    """Draw the plan of a result and the convergence of its solve.

    Parameters
    ----------
    result : OTResult
        What a solver returned.

    Returns
    -------
    matplotlib.figure.Figure
        Left, the plan: a heat map, or for a one- or two-dimensional point cloud the heaviest
        lines of the matching. Right, the marginal error against passes over the cost, with the
        stages of reg scaling and the tolerance. The figure belongs to no window: save it with
        ``figure.savefig("plan.png")``.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'plot() needs matplotlib, which is not installed: pip install "ot-fast[plot]"'
        ) from error

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6), dpi=150, layout="constrained")
        layout: Any = figure.get_layout_engine()
        layout.set(w_pad=0.12, h_pad=0.08)
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.12))
        draw_plan(left, result)
        draw_convergence(right, result)
    return figure


# ---------------------------------------------------------------------------- convergence


def plot_sparse(result: SparseResult) -> Figure:
    """The entries of a sparse plan, and how many every line has."""
    import matplotlib.pyplot as plt

    n, m = result.geometry.shape
    P = result.sparse_plan.tocoo()
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9.2, 4.2), layout="constrained", width_ratios=(1.25, 1)
        )
        rows, cols = P.coords
        size = np.clip(4e4 / max(n, m) ** 1.2, 1, 40) * P.data / P.data.max()
        left.scatter(cols, rows, s=size, color=SOURCE, linewidths=0, rasterized=P.nnz > 10_000)
        left.set(xlim=(-0.5, m - 0.5), ylim=(n - 0.5, -0.5), xlabel="column", ylabel="row")
        left.set_title(f"{P.nnz} entries of {n} x {m}, area by mass", loc="left")
        where = "row" if result.axis == 1 else "column"
        counts = np.bincount(rows if result.axis == 1 else cols, minlength=(m, n)[result.axis == 1])
        right.hist(counts, bins=np.arange(counts.max() + 2) - 0.5, color=SOURCE, rwidth=0.85)
        if result.max_nz is not None and result.max_nz < 4 * counts.max():
            right.axvline(result.max_nz + 0.5, color=ACCENT, lw=1)
            right.set_title(f"at most {result.max_nz} allowed, gap {result.gap:.1e}", loc="left")
        else:
            right.set_title(f"gap {result.gap:.1e}", loc="left")
        right.set(xlabel=f"entries of a {where}", ylabel=f"{where}s")
        right.xaxis.get_major_locator().set_params(integer=True)
    return figure


def draw_convergence(axes: Axes, result: OTResult) -> None:
    """Draw the marginal error against passes, one band for each stage of reg scaling.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    result : OTResult
        Of any solver: its ``history`` and ``tol`` are drawn.
    """
    passes, error, reg, elapsed = (
        np.asarray(result.history[name], dtype=np.float64)
        for name in ("n_iter", "error", "reg", "elapsed")
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
        axes.xaxis.set_major_formatter(_thousands)
    else:
        _whole_ticks(axes)
    _draw_stages(axes, edges, reg[starts])
    marks: dict[str, Any] = {"marker": "o", "markersize": 3.2} if passes.size <= 120 else {}
    shown = np.where(drawn, error, np.nan)
    axes.plot(passes, shown, color=SOURCE, linewidth=1.5, zorder=3, clip_on=False, **marks)
    if result.tol > 0:
        axes.axhline(result.tol, color=ACCENT, linewidth=0.9, linestyle=(0, (5, 3)), zorder=2)
        axes.annotate(
            f"tol = {_scientific(result.tol)}",
            (0.0, result.tol),
            xycoords=("axes fraction", "data"),
            xytext=(5, -4),
            textcoords="offset points",
            va="top",
            color=ACCENT,
            fontsize=9.5,
        )
    axes.set_title(
        f"error {_scientific(result.marginal_error)} after "
        f"{_plural(result.n_iter, 'pass', 'passes')}, {_seconds(float(elapsed[-1]))}",
        loc="right",
        fontsize=9.5,
        color=MUTED,
    )


def _say_nothing_to_draw(axes: Axes, result: OTResult) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    text = f"marginal error {_scientific(result.marginal_error)} after "
    text += _plural(result.n_iter, "pass", "passes")
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
        name = f"{value:.2g}" if 1e-3 <= value < 0.01 else _scientific(value)
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


def _whole_ticks(axes: Axes, both: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    for axis in (axes.xaxis, axes.yaxis) if both else (axes.xaxis,):
        axis.set_major_locator(
            MaxNLocator(integer=True, nbins=8, steps=[1, 2, 5, 10], min_n_ticks=1)
        )
        axis.set_major_formatter(_thousands)


def _thousands(value: float, _position: float | None = None) -> str:
    return f"{value:,.0f}"


# ---------------------------------------------------------------------------- the plan


def draw_plan(axes: Axes, result: OTResult) -> None:
    """Draw the plan of a result: a matching in one or two dimensions, else a heat map."""
    cloud = result.geometry
    dimension = cloud.x.shape[1] if isinstance(cloud, PointCloud) else 0
    if dimension == 1:
        _draw_matching_1d(axes, result, cloud)
    elif dimension == 2:
        _draw_matching_2d(axes, result, cloud)
    else:
        _draw_heat(axes, result)


def _draw_heat(axes: Axes, result: OTResult) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    heat, ordered = _block_means(result)
    ramp = ["#ffffff", "#cfe0f1", "#7fb0d9", "#2f77b5", "#12305a"]
    colours = LinearSegmentedColormap.from_list("ot_fast", ramp)
    # A plan is nearly sparse: the root keeps the small entries in sight beside the large ones,
    # and a few cells of the darkest shade keep one outlier from bleaching the rest.
    peak = float(np.quantile(heat, 0.999)) or float(heat.max())
    shade = np.sqrt(np.minimum(heat / peak, 1.0)) if peak > 0 else heat
    n, m = (int(s) for s in result.geometry.shape)
    axes.imshow(
        shade,
        cmap=colours,
        vmin=0.0,
        vmax=1.0,
        extent=(0.5, m + 0.5, n + 0.5, 0.5),
        aspect="auto" if max(n, m) > 4 * min(n, m) else "equal",
        interpolation="nearest",
    )
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_title(f"Plan, {n:,} x {m:,}".replace("x", "\N{MULTIPLICATION SIGN}"), loc="left")
    along = ", sorted along the first principal axis" if ordered else ""
    axes.set_xlabel(f"target{along}")
    axes.set_ylabel(f"source{along}")
    _whole_ticks(axes, both=True)
    if heat.shape != (n, m):
        _note(axes, f"means of {heat.shape[0]} \N{MULTIPLICATION SIGN} {heat.shape[1]} blocks")


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
    row_edges = np.linspace(0, n, min(n, _HEAT_CELLS) + 1).astype(np.int64)
    col_edges = np.linspace(0, m, min(m, _HEAT_CELLS) + 1).astype(np.int64)
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
        cost = PointCloud(geometry.x[rows], geometry.y, cost=geometry.cost).to_dense()
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


def _heaviest_pairs(result: OTResult) -> tuple[Array, Array, Array, str]:
    """Return rows, columns and masses of the pairs to draw, and what they are in words."""
    n, m = (int(s) for s in result.geometry.shape)
    large = n * m > _DENSE_ENTRIES
    plan = (result.sparse_plan(top_k=1) if large else result.sparse_plan(mass=_MASS)).tocoo()
    rows, cols = plan.row, plan.col
    masses = np.asarray(plan.data, dtype=np.float64)
    if large:
        words = f"{_plural(n, 'source point', 'source points')}, each with its heaviest target"
    else:
        held = float(masses.sum() / np.sum(result.a, dtype=np.float64))
        words = f"{_plural(masses.size, 'pair', 'pairs')} with {100 * held:.3g} % of the mass"
    if masses.size > _MAX_LINES:
        # Drawn at random by mass and then alike, so that their density shows the plan.
        chosen = np.random.default_rng(0).choice(
            masses.size, _MAX_LINES, replace=False, p=masses / masses.sum(), shuffle=False
        )
        rows, cols, masses = rows[chosen], cols[chosen], np.ones(_MAX_LINES)
        words = f"{_MAX_LINES:,} of {'' if large else 'the '}{words}"
    order = np.argsort(masses, kind="stable")  # heaviest on top
    return rows[order], cols[order], masses[order], words


def _draw_matching_2d(axes: Axes, result: OTResult, cloud: Any) -> None:
    x = np.asarray(cloud.x, dtype=np.float64)
    y = np.asarray(cloud.y, dtype=np.float64)
    rows, cols, masses, words = _heaviest_pairs(result)
    _add_lines(axes, np.stack([x[rows], y[cols]], axis=1), masses)
    edge = 0.3 if max(len(x), len(y)) <= 1000 else 0.0
    style: dict[str, Any] = {"linewidths": edge, "edgecolors": "white", "zorder": 3}
    axes.scatter(x[:, 0], x[:, 1], s=_areas(result.a), color=SOURCE, label="source", **style)
    axes.scatter(y[:, 0], y[:, 1], s=_areas(result.b), color=TARGET, label="target", **style)
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.05)
    axes.set_title("Matching", loc="left")
    _legend(axes)
    _note(axes, words)


def _draw_matching_1d(axes: Axes, result: OTResult, cloud: Any) -> None:
    x = np.asarray(cloud.x, dtype=np.float64)[:, 0]
    y = np.asarray(cloud.y, dtype=np.float64)[:, 0]
    rows, cols, masses, words = _heaviest_pairs(result)
    top, bottom = np.ones(rows.size), np.zeros(rows.size)
    ends = [np.stack([x[rows], top], axis=1), np.stack([y[cols], bottom], axis=1)]
    _add_lines(axes, np.stack(ends, axis=1), masses)
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
    axes.set_title("Matching", loc="left")
    _legend(axes)
    _note(axes, words)


def _add_lines(axes: Axes, segments: Array, masses: Array) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    if not masses.size:
        return
    share = masses / masses.max()
    colours = np.tile(to_rgba(INK), (masses.size, 1))
    # Many lines are drawn finer and fainter, so that their density is what is seen.
    colours[:, 3] = (0.25 + 0.75 * share) * min(0.6, 0.02 + 90.0 / masses.size)
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


def _note(axes: Axes, text: str) -> None:
    axes.annotate(
        text,
        (1.0, 0.0),
        xycoords="axes fraction",
        xytext=(-3, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
        color=MUTED,
        zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1.2},
    )


# ---------------------------------------------------------------------------- words


def _scientific(value: float) -> str:
    """Return a number in two digits, as mathtext ``3.2 x 10^-7`` where it is small or large."""
    if value == 0 or not np.isfinite(value) or 0.01 <= abs(value) < 1000:
        return f"{value:.2g}"
    digits, exponent = f"{value:.1e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if digits == "1.0" else rf"${digits}\times {power}$"


def _seconds(value: float) -> str:
    if value < 1e-3:
        return f"{1e6 * value:.0f} \N{MICRO SIGN}s"
    if value < 1.0:
        return f"{1e3 * value:.3g} ms"
    return f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _plural(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
