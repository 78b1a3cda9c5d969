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


def draw(rows: list[dict[str, Any]], capacity: float, path: str) -> None:
    import matplotlib.pyplot as plt

    colours = ["#b9c0c9", "#7d858f", "#d9a441", "#1f5fa8", "#6ea0d8"]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 4.0), layout="constrained", width_ratios=(1.25, 1)
    )
    named = False
    for row, colour in zip(rows, colours, strict=True):
        load = np.sort(np.asarray(row["load"]))[::-1] / capacity
        if load.max() > 1 + 1e-6:
            left.plot(load, color=colour, lw=1.8, label=str(row["method"]))
        elif not named:  # the balanced ones coincide
            left.plot(load, color="#1f5fa8", lw=2.2, label="entropic and sparse OT")
            named = True
    left.set(xlabel="expert, by load", ylabel="load / capacity", ylim=(0, None))
    left.set_title("Gating overloads popular experts; transport does not", loc="left")
    left.legend(frameon=False, fontsize=9)
    place = np.arange(len(rows))[::-1]
    right.barh(place, [100 * float(r["dropped"]) for r in rows], color=colours)
    for y, row in zip(place, rows, strict=True):
        text = f"{float(row['kept']):.3f} kept, experts a token: {float(row['entries']):.3g}"
        right.text(100 * float(row["dropped"]) + 1, y, text, va="center", fontsize=8.5)
    right.set(
        yticks=place, yticklabels=[str(r["method"]) for r in rows], xlabel="tokens dropped, %"
    )
    right.set_xlim(0, 80)
    right.set_title("Tokens dropped, probability kept", loc="left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


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
