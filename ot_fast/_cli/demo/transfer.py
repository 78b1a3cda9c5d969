"""The colour transfer: one entropic problem between pixels, and its map for every colour."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import ot_fast as otf

from .pictures import Picture, unique_colours

if TYPE_CHECKING:
    from ..._results import OTResult

Array = NDArray[Any]

TOL = 1e-6
SEED = 0
_MAP_CHUNK = 4096  # colours mapped between two steps of the progress bar


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


def transfer_colours(
    source: Picture, target: Picture, pixels: int, reg: float, threads: int | None
) -> Transfer:
    """Solve between pixels drawn from both pictures, then carry every colour of the source."""
    from tqdm import tqdm

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
            mapped[lo : lo + len(block)] = otf.entropic_map(result, block / 255.0)
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


def _peak_memory() -> float | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak)
