"""What the demo prints: the problem, its certificate, and the comparison with POT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .pot import PIXELS, Run
from .transfer import TOL, Transfer

if TYPE_CHECKING:
    from ..._results import OTResult

_TIMES = "\N{MULTIPLICATION SIGN}"


def table(transfer: Transfer, runs: Sequence[Run]) -> str:
    """Return what the demo prints: the problem, its certificate, and the comparison."""
    result = transfer.result
    n, m = (int(s) for s in result.geometry.shape)
    lines = [
        ("pictures", f"{transfer.source.name} ({transfer.source.size}) to "
                     f"{transfer.target.name} ({transfer.target.size})"),
        ("problem", f"{n:,} {_TIMES} {m:,} pixels in RGB, squared Euclidean cost, never stored"),
        ("reg", f"{result.reg:.4g}, {transfer.relative_reg:g} of the largest cost, "
                f"{transfer.max_cost:.4g}"),
        ("status", _status_line(result)),
        ("passes", f"{result.n_iter:,}"),
        ("time", f"{transfer.solve_time:.2f} s to solve, {transfer.map_time:.2f} s to map "
                 f"{transfer.colours:,} colour{'s' * (transfer.colours > 1)}"),
        ("marginal error", f"{result.marginal_error:.2e} (tolerance {TOL:g})"),
        ("certificate", f"{result.lower_bound:.6g} <= OT <= {result.upper_bound:.6g}"),
        ("peak memory", _memory_line(transfer)),
    ]  # fmt: skip
    text = "\n".join(f"  {name:<16}{value}" for name, value in lines)
    return f"\nColour transfer\n{text}\n\n{_comparison(transfer, runs)}"


def _status_line(result: OTResult) -> str:
    if result.converged:
        return "converged"
    return f"not converged: {result.message}"


def _memory_line(transfer: Transfer) -> str:
    if transfer.memory is None:
        return "not known on this system"
    n, m = (int(s) for s in transfer.result.geometry.shape)
    peak, matrix = transfer.memory / 2**20, 8 * n * m / 2**20
    return f"{peak:.0f} MiB, the whole process (the cost matrix alone: {matrix:.0f} MiB)"


def _comparison(transfer: Transfer, runs: Sequence[Run]) -> str:
    if not runs:
        return "POT is not installed, so nothing is compared (pip install POT)"
    n, m = (min(int(s), PIXELS) for s in transfer.result.geometry.shape)
    head = f"The same on {n:,} {_TIMES} {m:,} pixels, from the pixels to a dense plan, best of 3"
    over = "> " if runs[-1].error > TOL else ""  # POT was stopped before it got there
    rows = [
        ["", *(run.solver for run in runs)],
        ["iterations", *(f"{run.n_iter:,}" for run in runs)],
        ["time", *(_clock(run.time) for run in runs)],
        ["speed", *(f"{over}{runs[-1].time / run.time:.1f} {_TIMES} POT" for run in runs[:-1]), ""],
        ["marginal error", *(_reached(run.error) for run in runs)],
        ["<C, P>", *(f"{run.cost:.8g}" for run in runs)],
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    body = "\n".join(
        f"  {row[0]:<16}"
        + "   ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
    return f"{head}\n{body}"


def _clock(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1e3 * seconds:.1f} ms"


def _reached(error: float) -> str:
    return f"{error:.1e}" if error <= TOL else f"{error:.1e}, missed"
