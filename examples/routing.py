"""Routing 4096 tokens to 64 experts of equal capacity.

Gating by the largest logits overloads popular experts, which then drop tokens. Transport with cost
-softmax(logits) balances them exactly; at most `max_nz` experts a token keeps it sparse.

Usage: python examples/routing.py [--tokens 4096] [--experts 64] [--out routing.png]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ot_fast as otf

Array = NDArray[np.float64]


def router(tokens: int, experts: int, seed: int = 0) -> Array:
    """Softmax of the logits of a router whose experts are unequally popular."""
    rng = np.random.default_rng(seed)
    keys = rng.normal(size=(experts, 16))
    topic = rng.choice(experts, tokens, p=rng.dirichlet(np.ones(experts)))
    logits = (keys[topic] + 0.8 * rng.normal(size=(tokens, 16))) @ keys.T / 2
    p = np.exp(logits - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def top_k(p: Array, k: int) -> Array:
    """Every token splits itself over its k most probable experts, in proportion."""
    plan = np.zeros_like(p)
    best = np.argpartition(p, -k, axis=1)[:, -k:]
    np.put_along_axis(plan, best, np.take_along_axis(p, best, 1), 1)
    return plan / plan.sum(1, keepdims=True)


def constrained(p: Array, k: int) -> Array:
    n, m = p.shape
    a, b = np.ones(n), np.full(m, n / m)
    return otf.sparsity_constrained(a, b, -p, 0.1, k, axis=1, on_fail="raise").plan


def entropic(p: Array) -> Array:
    n, m = p.shape
    return otf.sinkhorn(np.ones(n), np.full(m, n / m), -p, 0.05).plan


METHODS: dict[str, Callable[[Array], Array]] = {
    "top-1 gating": lambda p: top_k(p, 1),
    "top-2 gating": lambda p: top_k(p, 2),
    "entropic OT": entropic,
    "sparse OT, 1 a token": lambda p: constrained(p, 1),
    "sparse OT, 2 a token": lambda p: constrained(p, 2),
}


def compare(tokens: int, experts: int) -> list[dict[str, Any]]:
    """Load, dropped tokens, probability kept, entries a token and seconds of every method."""
    p = router(tokens, experts)
    capacity = tokens / experts
    rows: list[dict[str, Any]] = []
    for name, route in METHODS.items():
        start = time.perf_counter()
        plan = route(p)
        seconds = time.perf_counter() - start
        load = plan.sum(0)
        served = plan * np.minimum(1, capacity / np.maximum(load, 1e-300))
        rows.append(
            {
                "method": name,
                "load": load,
                "busiest": load.max() / capacity,
                "dropped": 1 - served.sum() / tokens,
                "kept": (p * served).sum() / tokens,
                "entries": np.count_nonzero(plan > 1e-12) / tokens,
                "seconds": seconds,
            }
        )
    return rows


STYLE = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "font.size": 11.0,
    "axes.titlesize": 12.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
COLOURS = ["#a9b1bb", "#7d858f", "#d9a441", "#1f5fa8", "#6ea0d8"]
RED = "#c8553d"


def draw(rows: list[dict[str, Any]], capacity: float, path: str) -> None:
    """Left, the load of every expert; right, what the methods keep and drop."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 3.9), dpi=200, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        draw_loads(left, {r["method"]: np.sort(r["load"])[::-1] / capacity for r in rows})
        draw_shares(right, rows)
        figure.savefig(path)


def draw_loads(axes: Any, loads: dict[str, Array]) -> None:
    """The loads in units of the capacity, in falling order; what lies above 1 is dropped."""
    gating = [name for name in loads if loads[name].max() > 1 + 1e-6]
    place = np.arange(1, loads[gating[0]].size + 1)
    for name, colour, style in zip(gating, COLOURS[1::-1], ("-", "--"), strict=False):
        axes.plot(place, loads[name], color=colour, lw=1.6, ls=style, label=name)
    axes.fill_between(
        place, 1, np.maximum(loads[gating[0]], 1), color=RED, alpha=0.18, lw=0, label="dropped"
    )
    axes.plot(place, np.ones(place.size), color=COLOURS[3], lw=2.2, label="optimal transport")
    axes.set(xlabel="expert, by load", ylabel="load / capacity", ylim=(0, None))
    axes.set_xlim(1, place.size)
    axes.set_title("Load of the experts", loc="left")
    axes.legend(frameon=False)


def draw_shares(axes: Any, rows: list[dict[str, Any]]) -> None:
    """A bar a method for the probability kept, beside it what is dropped and the experts used."""
    place = np.arange(len(rows))[::-1]
    kept = [float(r["kept"]) for r in rows]
    axes.barh(place, kept, color=COLOURS, height=0.62)
    columns = (1.2, 1.42)
    axes.set_xlim(0, 1.55 * max(kept))
    for x, head in zip(columns, ("dropped", "experts"), strict=True):
        axes.text(x * max(kept), len(rows) - 0.45, head, ha="right", color="#7d858f")
    for y, r, share in zip(place, rows, kept, strict=True):
        axes.text(share - 0.01 * max(kept), y, f"{share:.3f}", va="center", ha="right", color="w")
        texts = (f"{100 * float(r['dropped']):.0f} %", f"{float(r['entries']):.3g}")
        for x, text in zip(columns, texts, strict=True):
            worst = text == texts[0] and float(r["dropped"]) > 0.005
            axes.text(x * max(kept), y, text, va="center", ha="right", color=RED if worst else "k")
    axes.set(yticks=place, yticklabels=[str(r["method"]) for r in rows])
    axes.tick_params(axis="y", length=0)
    axes.set(xticks=[], ylim=(-0.5, len(rows) - 0.1))
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Probability kept, tokens dropped, experts a token", loc="left")


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--out", help="write the picture here")
    args = parser.parse_args(argv)
    rows = compare(args.tokens, args.experts)
    print(f"{'method':22} {'busiest':>8} {'dropped':>8} {'kept':>6} {'a token':>8} {'seconds':>8}")
    for r in rows:
        print(
            f"{r['method']:22} {r['busiest']:8.2f} {r['dropped']:8.1%} {r['kept']:6.3f} "
            f"{r['entries']:8.2f} {r['seconds']:8.3f}"
        )
    if args.out:
        draw(rows, args.tokens / args.experts, args.out)
    return rows


if __name__ == "__main__":
    main()
