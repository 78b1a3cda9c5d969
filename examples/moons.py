"""Learn a map from moons to an S-curve, with and without the Monge gap, for two costs.

    pip install -e '.[torch,demo]'
    python examples/moons.py                 # four fits of 5 000 steps, and moons.png
    python examples/moons.py --steps 500 --out quick.png

The loss is ``sinkhorn_divergence(T(x), y) + weight * monge_gap(x, T(x))`` on fresh batches: the
first term brings T(x) to the target, the second makes T optimal for its cost among the maps that
do. The problem is that of the Monge gap tutorial of OTT-JAX (Uscidda and Cuturi, ICML 2023).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

try:
    import torch
    from sklearn.datasets import make_moons, make_s_curve
    from tqdm import tqdm
except ImportError as error:
    raise SystemExit(
        f"this example needs {error.name}, which is not installed: pip install -e '.[torch,demo]'"
    ) from None

import ot_fast as otf
import ot_fast.torch as layers

COSTS = ("sqeuclidean", "euclidean")
TOL = 1e-3  # marginal error of the solves while training


def moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """The upper moon, turned by 30 degrees."""
    seed = int(rng.integers(2**31))
    x, _ = make_moons((n, 0), noise=0.05, random_state=seed)
    return turned(x, np.pi / 6) + np.array([0.0, 0.5])


def s_curve(n: int, rng: np.random.Generator) -> np.ndarray:
    """An S, turned by -30 degrees and set below."""
    seed = int(rng.integers(2**31))
    y, _ = make_s_curve(n, noise=0.05, random_state=seed)
    return turned(0.6 * y[:, [2, 0]], -np.pi / 6) + np.array([0.5, -2.0])


def turned(x: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return x @ np.array([[c, s], [-s, c]])


def mean_cost(x: np.ndarray, y: np.ndarray, cost: str) -> float:
    return float(otf.PointCloud(x, y, cost).to_dense().mean())


@dataclass
class Fit:
    """A trained map and how it got there."""

    cost: str
    weight: float
    net: torch.nn.Module
    divergence: np.ndarray  # every step
    gap: np.ndarray  # every step; every tenth where it is not part of the loss
    floor: float  # reg log n: no gap lies below
    seconds: float
    warm: otf.WarmStart

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.net(torch.as_tensor(x)).numpy()


def fit(
    cost: str, weight: float, steps: int, batch: int = 256, seed: int = 0, progress: bool = True
) -> Fit:
    """Adam on fresh batches; `weight` of the Monge gap for `cost`, 0 for none."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    width = (2, 32, 64, 32, 2)
    parts: list[torch.nn.Module] = []
    for k in range(4):
        parts += [torch.nn.Linear(width[k], width[k + 1]), torch.nn.GELU()]
    net = torch.nn.Sequential(*parts[:-1]).double()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    sources, targets = moons(20_000, rng), s_curve(20_000, rng)  # what batches are drawn from
    reg_fit = 0.1 * mean_cost(targets[:1024], targets[:1024], "sqeuclidean")
    reg_gap = 0.01 * mean_cost(sources[:1024], targets[:1024], cost)
    warm = otf.WarmStart()
    divergences, gaps = np.empty(steps), np.full(steps, np.nan)
    start, measuring = time.perf_counter(), 0.0
    bar = tqdm(range(steps), disable=not progress, unit="step", desc=f"{cost}, weight {weight:g}")
    for step in bar:
        x = torch.as_tensor(sources[rng.integers(len(sources), size=batch)])
        y = torch.as_tensor(targets[rng.integers(len(targets), size=batch)])
        Tx = net(x)
        loss = layers.sinkhorn_divergence(Tx, y, reg=reg_fit, tol=TOL, init=warm)
        divergences[step] = loss.item()
        if weight > 0:
            gap = layers.monge_gap(x, Tx, cost=cost, reg=reg_gap, tol=TOL, init=warm)
            gaps[step] = gap.item()
            loss = loss + weight * gap
        elif step % 10 == 0:
            began = time.perf_counter()
            gaps[step] = otf.monge_gap(x, Tx, cost=cost, reg=reg_gap, tol=TOL).value
            measuring += time.perf_counter() - began
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 50 == 0:
            bar.set_postfix(divergence=f"{divergences[step]:.3f}", gap=f"{gaps[step]:.3f}")
    seconds = time.perf_counter() - start - measuring
    floor = reg_gap * float(np.log(batch))
    return Fit(cost, weight, net, divergences, gaps, floor, seconds, warm)


def smooth(values: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over windows of what was measured, at the middle of each."""
    count = max(1, len(values) // window)
    parts = np.array_split(values, count)
    at = np.array_split(np.arange(len(values)), count)
    keep = [np.isfinite(p).any() for p in parts]
    means = [np.nanmean(p) for p, k in zip(parts, keep, strict=True) if k]
    return np.array([a.mean() for a, k in zip(at, keep, strict=True) if k]), np.array(means)


STYLE = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 11.0,
    "axes.titlesize": 12.0,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "ytick.minor.size": 0.0,
}
INK, BLUE, ORANGE, GREY = "#22262b", "#1f5fa8", "#d9822b", "#b4bac1"
SYMBOL = {"sqeuclidean": r"$|x-y|^2$", "euclidean": r"$|x-y|$"}


def draw(fits: list[Fit], path: Path) -> None:
    """A row a cost: the map without the gap, with it, and the two curves."""
    import matplotlib
    from matplotlib.figure import Figure

    costs = list(dict.fromkeys(f.cost for f in fits))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, 3.4 * len(costs)), dpi=150, layout="constrained")
        rows = figure.subplots(len(costs), 4, squeeze=False, width_ratios=[0.8, 0.8, 1.1, 1.1])
        for row, cost in zip(rows, costs, strict=True):
            pair = sorted((f for f in fits if f.cost == cost), key=lambda f: f.weight)
            for axes, f in zip(row, pair, strict=False):
                draw_map(axes, f)
            draw_curves(row[2], pair, "divergence", "Sinkhorn divergence")
            row[2].set_yscale("log")
            draw_curves(row[3], pair, "gap", f"Monge gap, {SYMBOL[cost]}")
            row[3].axhline(pair[0].floor, color=INK, lw=0.8, ls=":")
            row[3].annotate("lower bound, reg log n", (0.98, pair[0].floor),
                            xycoords=("axes fraction", "data"), xytext=(0, 4),
                            textcoords="offset points", ha="right", color=INK)  # fmt: skip
            row[3].set_ylim(bottom=0)
        for axes, ncols, markers in ((rows[0][0], 3, 2.0), (rows[0][2], 2, 1.0)):
            handles, labels = axes.get_legend_handles_labels()
            side = "left" if axes is rows[0][0] else "right"
            figure.legend(handles, labels, loc=f"outside lower {side}", ncols=ncols, frameon=False,
                          markerscale=markers)  # fmt: skip
        figure.savefig(path)


def draw_map(axes: Any, f: Fit) -> None:
    """Points, their images and lines between them, over the target."""
    rng = np.random.default_rng(7)
    x, y = moons(400, rng), s_curve(400, rng)
    Tx = f(x)
    axes.scatter(*y.T, s=9, color=GREY, lw=0, label="target")
    for ends in np.stack([x[::4], Tx[::4]], axis=1):
        axes.plot(*ends.T, color=INK, lw=0.5, alpha=0.35, zorder=1)
    axes.scatter(*x.T, s=9, color=BLUE, lw=0, label="source $x$")
    axes.scatter(*Tx.T, s=9, color=ORANGE, lw=0, label="image $T(x)$", zorder=3)
    gap = otf.monge_gap(x, Tx, cost=f.cost, reg=1e-3 * mean_cost(x, Tx, f.cost), tol=1e-4)
    loss = "divergence and gap" if f.weight > 0 else "divergence only"
    axes.set_title(f"{SYMBOL[f.cost]}, {loss}\ngap of this map: {gap.value:.3f}")
    axes.set_aspect("equal")
    axes.set_axis_off()


def draw_curves(axes: Any, pair: list[Fit], name: str, title: str) -> None:
    for f, colour in zip(pair, (GREY, ORANGE), strict=False):
        at, means = smooth(getattr(f, name), max(10, len(f.gap) // 100))
        label = "divergence and gap" if f.weight > 0 else "divergence only"
        axes.plot(at, means, color=colour, lw=1.8, label=label)
    axes.set_title(title)
    axes.set_xlabel("step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--weight", type=float, default=1.0, help="of the Monge gap")
    parser.add_argument("--cost", choices=COSTS, action="append", help="default: both")
    parser.add_argument("--out", type=Path, default=Path("moons.png"))
    args = parser.parse_args()
    torch.set_num_threads(1)  # layers of 64 units: more threads only wait for each other
    fits = []
    for cost in args.cost or COSTS:
        for weight in (0.0, args.weight):
            f = fit(cost, weight, args.steps, args.batch)
            fits.append(f)
            last = slice(-max(1, args.steps // 20), None)
            print(
                f"{cost:12} weight {weight:g}: {f.seconds:6.1f} s, divergence "
                f"{np.mean(f.divergence[last]):.4f}, gap {np.nanmean(f.gap[last]):.4f}, {f.warm}"
            )
    draw(fits, args.out)
    print(f"written: {args.out}")


if __name__ == "__main__":
    main()
