"""The demonstration: the colours of one photograph carried to another by optimal transport."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ._result import OTResult

Array = NDArray[Any]
T = TypeVar("T")

TOL = 1e-6
SEED = 0
POT_PIXELS = 2000  # POT holds several n x m arrays at once
POT_ITERATIONS = 20_000
POT_SECONDS = 10.0  # per run, by what its first iterations take
_MAP_CHUNK = 4096  # colours mapped between two steps of the progress bar
_TIMES = "\N{MULTIPLICATION SIGN}"


class CommandError(Exception):
    """What the command line reports in one line, with the exit status that goes with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Picture:
    """An 8-bit RGB image of shape (height, width, 3) and where it came from."""

    name: str
    pixels: Array

    @property
    def size(self) -> str:
        height, width, _ = self.pixels.shape
        return f"{width} {_TIMES} {height}"


@dataclass(frozen=True)
class Transfer:
    """A finished colour transfer."""

    source: Picture
    target: Picture
    output: Array
    result: OTResult
    relative_reg: float
    max_cost: float
    colours: int
    solve_time: float
    map_time: float
    memory: float | None  # peak of the process, in bytes


@dataclass(frozen=True)
class Run:
    """One column of the comparison."""

    solver: str
    n_iter: int
    time: float
    error: float
    cost: float


def run_demo(
    images: Sequence[str] | None,
    out: Path,
    pixels: int,
    reg: float,
    threads: int | None,
) -> tuple[str, bool]:
    """Transfer the colours and write the picture; return the table and whether it converged."""
    _require(["matplotlib", "PIL", "tqdm"] + ([] if images else ["sklearn"]))
    _check_out(out)
    source, target = (read_picture(p) for p in images) if images else sample_pictures()
    transfer = transfer_colours(source, target, pixels, reg, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts and layout: nothing the user can act on
        try:
            draw(transfer).savefig(out)
        except OSError as error:
            raise CommandError(f"cannot write {out}: {error.strerror or error}", 2) from error
    runs = compare(transfer, threads)
    return f"{table(transfer, runs)}\n\nwrote {out}", transfer.result.converged


# ---------------------------------------------------------------------------- pictures


def sample_pictures() -> tuple[Picture, Picture]:
    """Return the two photographs that scikit-learn ships."""
    from sklearn.datasets import load_sample_image

    source, target = (
        Picture(name, np.asarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")
    )
    return source, target


def read_picture(path: str) -> Picture:
    """Read an image file of any mode as 8-bit RGB, transparency over white."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            pixels = _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise CommandError(f"{path} is not an image that Pillow can read", 2) from error
    except Image.DecompressionBombError as error:
        raise CommandError(f"{path}: {error}", 2) from error
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}", 2) from error
    except (ValueError, SyntaxError) as error:  # Pillow's words for a broken file
        raise CommandError(f"{path} is a damaged image: {error}", 2) from error
    return Picture(Path(path).name, pixels)


def _to_rgb(image: Any) -> Array:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return _deep_grey(np.asarray(image, dtype=np.float64))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _deep_grey(values: Array) -> Array:
    """Bring a grey image of 16 bits, 32 bits or floats to 8 bits."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(values.max())
    full = next((scale for scale in (1.0, 255.0, 65535.0) if peak <= scale), peak)
    # Pillow opens 16-bit files as integers, of which a dark one may stay below 256.
    full = 65535.0 if full == 255.0 or (full == 1.0 and np.all(values == values.round())) else full
    grey = np.clip(np.rint(255.0 * values / full), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


# ---------------------------------------------------------------------------- the transfer


def transfer_colours(
    source: Picture, target: Picture, pixels: int, reg: float, threads: int | None
) -> Transfer:
    """Solve between pixels drawn from both pictures, then carry every colour of the source."""
    from tqdm import tqdm

    import ot_fast as otf

    from .entropic import entropic_map

    rng = np.random.default_rng(SEED)
    x, y = (_draw_pixels(picture, pixels, rng) for picture in (source, target))
    max_cost = largest_cost(x, y)
    scale = reg * (max_cost or 1.0)  # pixels of one and the same colour cost nothing

    start = time.perf_counter()
    with _solve_bar(scale) as watch:
        result = otf.sinkhorn(
            None,
            None,
            otf.PointCloud(x, y),
            scale,
            tol=TOL,
            callback=watch,
            threads=threads,
            on_fail="ignore",
        )
    solve_time = time.perf_counter() - start

    colours, where = unique_colours(source.pixels)
    mapped = np.empty((len(colours), 3))
    start = time.perf_counter()
    with tqdm(total=len(colours), desc="map  ", unit="colour", unit_scale=True) as bar:
        for lo in range(0, len(colours), _MAP_CHUNK):
            block = colours[lo : lo + _MAP_CHUNK]
            mapped[lo : lo + len(block)] = entropic_map(result, block / 255.0)
            bar.update(len(block))
    map_time = time.perf_counter() - start
    memory = _peak_memory()

    output = np.clip(np.rint(255.0 * mapped), 0, 255).astype(np.uint8)[where]
    return Transfer(
        source=source,
        target=target,
        output=output.reshape(source.pixels.shape),
        result=result,
        relative_reg=reg,
        max_cost=max_cost,
        colours=len(colours),
        solve_time=solve_time,
        map_time=map_time,
        memory=memory,
    )


def unique_colours(pixels: Array) -> tuple[Array, Array]:
    """Return the distinct rows of 8-bit colours and, for each pixel, its row."""
    channels = pixels.reshape(-1, 3).astype(np.uint32)
    codes = channels[:, 0] << 16 | channels[:, 1] << 8 | channels[:, 2]
    distinct, where = np.unique(codes, return_inverse=True)
    rows = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1)
    return rows.astype(np.uint8), where.reshape(-1)


def largest_cost(x: Array, y: Array) -> float:
    """Return the largest squared distance between the rows of x and those of y, exactly."""
    from scipy.spatial.distance import cdist

    return max(float(cdist(x[k : k + 64], y, "sqeuclidean").max()) for k in range(0, len(x), 64))


def _draw_pixels(picture: Picture, count: int, rng: np.random.Generator) -> Array:
    colours = picture.pixels.reshape(-1, 3)
    chosen = rng.choice(len(colours), size=min(count, len(colours)), replace=False)
    return np.asarray(colours[chosen] / 255.0)


@contextmanager
def _solve_bar(reg: float) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Show a solve as the decades of reg and then of error that it has yet to go."""
    from tqdm import tqdm

    layout = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}{postfix}]"
    with tqdm(total=1.0, desc="solve", bar_format=layout) as bar:
        first_reg = 0.0

        def watch(info: dict[str, Any]) -> None:
            nonlocal first_reg
            first_reg = first_reg or info["reg"]
            stages = max(np.log10(first_reg / reg), 0.0)
            done = np.log10(first_reg / info["reg"])
            if info["reg"] <= reg * (1 + 1e-9):
                error = max(info["error"], TOL)
                done = stages + min(max(-np.log10(error), 0.0), -np.log10(TOL))
            bar.n = max(bar.n, float(done / (stages - np.log10(TOL))))
            bar.set_postfix_str(
                f"pass {info['n_iter']}, reg {info['reg']:.2g}, error {info['error']:.1e}",
                refresh=False,
            )
            bar.update(0)

        yield watch
        bar.refresh()


# ---------------------------------------------------------------------------- against POT


def compare(transfer: Transfer, threads: int | None) -> list[Run]:
    """Solve one problem of a size that POT can hold with both, to the same error."""
    try:
        import_module("ot")
    except ImportError:
        return []
    from tqdm import tqdm

    cloud: Any = transfer.result.geometry
    x, y = cloud.x[:POT_PIXELS], cloud.y[:POT_PIXELS]
    reg = transfer.result.reg
    steps: list[Callable[[], Run]] = [
        lambda: _run_ot_fast("ot_fast, points", x, y, reg, threads, dense=False),
        lambda: _run_ot_fast("ot_fast, matrix", x, y, reg, threads, dense=True),
        lambda: _run_pot(x, y, reg, threads),
    ]
    bar = tqdm(steps, desc="compare with POT", leave=False)
    return [step() for step in bar]


def _run_ot_fast(
    name: str, x: Array, y: Array, reg: float, threads: int | None, dense: bool
) -> Run:
    from scipy.spatial.distance import cdist

    import ot_fast as otf

    def solve() -> Any:
        cost = cdist(x, y, "sqeuclidean") if dense else otf.PointCloud(x, y)
        result = otf.sinkhorn(None, None, cost, reg, tol=TOL, threads=threads, on_fail="ignore")
        return result, result.plan  # the dense plan is timed too: POT returns nothing else

    (result, plan), seconds = _best_time(solve)
    return Run(name, result.n_iter, seconds, *_recompute(plan, x, y))


def _run_pot(x: Array, y: Array, reg: float, threads: int | None) -> Run:
    """Run POT with the loosest of its own stopping rules that meets the error asked for.

    POT stops on the 2-norm of one marginal and the error compared is a 1-norm, so its rule is
    tightened until that is met. Where its kernel underflows, its logarithmic solver takes over.
    """
    run = Run("POT", 0, 0.0, np.inf, np.nan)
    with _blas_threads(threads), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for method in ("sinkhorn", "sinkhorn_log"):
            _, trial = _time_pot(x, y, reg, method, 0.0, 10)
            limit = int(np.clip(10 * POT_SECONDS / trial, 10, POT_ITERATIONS))
            for halvings in range(8):
                stop = TOL / 2**halvings
                run, seconds = _time_pot(x, y, reg, method, stop, limit)
                if run.error <= TOL:
                    repeats = range(2 if seconds < POT_SECONDS / 2 else 0)
                    again = [_time_pot(x, y, reg, method, stop, limit)[1] for _ in repeats]
                    return replace(run, time=min([seconds, *again]))
                if run.n_iter >= limit - 1:
                    return run
                if not np.isfinite(run.error):
                    break
    return run


def _time_pot(
    x: Array, y: Array, reg: float, method: str, stop: float, limit: int
) -> tuple[Run, float]:
    import ot

    a, b = np.full(len(x), 1.0 / len(x)), np.full(len(y), 1.0 / len(y))
    start = time.perf_counter()
    plan, log = ot.sinkhorn(
        a, b, ot.dist(x, y), reg, method=method, stopThr=stop, numItermax=limit, log=True
    )
    seconds = time.perf_counter() - start
    name = f"POT {metadata_version('POT')} {method}"
    error, cost = _recompute(np.asarray(plan), x, y)
    return Run(name, int(log["niter"]), seconds, error, cost), seconds


def _recompute(plan: Array, x: Array, y: Array) -> tuple[float, float]:
    """Return the marginal error of a plan and its cost, from the plan itself."""
    from scipy.spatial.distance import cdist

    n, m = plan.shape
    rows = np.abs(plan.sum(axis=1) - 1.0 / n).sum()
    cols = np.abs(plan.sum(axis=0) - 1.0 / m).sum()
    return float(max(rows, cols)), float(np.vdot(plan, cdist(x, y, "sqeuclidean")))


def _best_time(solve: Callable[[], T]) -> tuple[T, float]:
    """Return what a call returns and the shortest of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        answer = solve()
        times.append(time.perf_counter() - start)
    return answer, min(times)


def _blas_threads(threads: int | None) -> Any:
    try:
        limits = import_module("threadpoolctl").threadpool_limits
    except ImportError:
        return nullcontext()
    return limits(threads) if threads else nullcontext()


# ---------------------------------------------------------------------------- the table


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
    n, m = (min(int(s), POT_PIXELS) for s in transfer.result.geometry.shape)
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


def _peak_memory() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)


# ---------------------------------------------------------------------------- the figure


def draw(transfer: Transfer) -> Figure:
    """Draw the pictures, their colours in the RGB cube, and the convergence of the solve."""
    import matplotlib
    from matplotlib.figure import Figure

    from ._plot import MUTED, STYLE, draw_convergence

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
        f"{n:,} {_TIMES} {m:,} pixels, squared Euclidean cost, reg = "
        f"{transfer.relative_reg:g} of the largest cost."
        f"   {result.lower_bound:.4g} \N{LESS-THAN OR EQUAL TO} OT "
        f"\N{LESS-THAN OR EQUAL TO} {result.upper_bound:.4g}"
    )


def _head(axes: Axes, letter: str, text: str) -> None:
    axes.set_title(rf"$\mathbf{{{letter}}}$   {text}", loc="left")


def _draw_picture(axes: Axes, pixels: Array) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _draw_cube(axes: Axes, pixels: Array, name: str, points: int = 8000) -> None:
    """Scatter colours inside the RGB cube, which stands on black with white at its top."""
    from ._plot import MUTED

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


# ---------------------------------------------------------------------------- the machine


def metadata_version(distribution: str) -> str | None:
    """Return the installed version of a distribution, without importing it."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _require(modules: Sequence[str]) -> None:
    names = {"PIL": "pillow", "sklearn": "scikit-learn"}
    missing = []
    for module in modules:
        try:
            import_module(module)
        except ImportError:
            missing.append(names.get(module, module))
    if missing:
        listed = " and ".join([", ".join(missing[:-1])] * bool(missing[:-1]) + missing[-1:])
        verb = "is" if len(missing) == 1 else "are"
        raise CommandError(
            f'the demo needs {listed}, which {verb} not installed: pip install "ot-fast[demo]"',
            1,
        )


def _check_out(out: Path) -> None:
    """Refuse a file that could not be written before any time is spent."""
    if out.suffix.lower() != ".png":
        raise CommandError(f"--out must end in .png, not {out.name!r}", 2)
    check_writable(out)


def check_writable(out: Path) -> None:
    """Raise CommandError where a file cannot be written."""
    import os

    if out.is_dir():
        raise CommandError(f"{out} is a folder", 2)
    if not out.parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {out.parent}", 2)
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise CommandError(f"cannot write {out}: permission denied", 2)
