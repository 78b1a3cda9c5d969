"""The Monge gap against OTT-JAX: value and gradient, cold and along a training path, and the fit of
examples/moons.py against the same fit in OTT-JAX.

Both solve to the same marginal error, recomputed in NumPy from the potentials returned. OTT is
compiled before it is timed. "Warm" is the median step of a path on which the images move by 1e-3
of their spread a step, as they do in training; OTT solves every step from nothing, as there.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from tqdm import tqdm

import ot_fast as otf

from . import machine, report

Row = dict[str, Any]
SIZES = (256, 1024, 4096)
DIMENSIONS = (2, 16, 64)
TOL = 1e-3  # OTT's default, and what its tutorial trains with
STEPS = 6
BUDGET = 20.0  # seconds of OTT for one case beyond which it is timed once


def clouds(n: int, d: int) -> tuple[np.ndarray, np.ndarray, float]:
    """x ~ N(0, I), images ~ N(1, diag(1.5, .5, ...)^2), and reg = .01 mean cost."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    y = 1.0 + np.resize([1.5, 0.5], d) * rng.standard_normal((n, d))
    return x, y, 0.01 * float(cdist(x[:512], y[:512], "sqeuclidean").mean())


def path(y: np.ndarray) -> list[np.ndarray]:
    """The images of a training path: each step moves them by 1e-3 of their spread."""
    direction = 1e-3 * y.std() * np.random.default_rng(1).standard_normal(y.shape)
    return [y + step * direction for step in range(STEPS + 1)]


def error_of(x: np.ndarray, y: np.ndarray, reg: float, f: np.ndarray, g: np.ndarray) -> float:
    """The L1 marginal error of the plan of potentials f on x and g on y, weights included."""
    row, col = np.zeros(len(x)), np.zeros(len(y))
    for i in range(0, len(x), 512):
        P = np.exp((f[i : i + 512, None] + g - cdist(x[i : i + 512], y, "sqeuclidean")) / reg)
        row[i : i + 512] = P.sum(1)
        col += P.sum(0)
    return float(max(abs(row - 1 / len(x)).sum(), abs(col - 1 / len(y)).sum()))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def gap_case(n: int, d: int, repeats: int, threads: int) -> Row:
    x, y, reg = clouds(n, d)

    def ours(images: np.ndarray, init: Any = None) -> tuple[Any, np.ndarray]:
        r = otf.monge_gap(x, images, reg=reg, tol=TOL, init=init, threads=threads)
        return r, r.gradient

    compiling, ott = timed(lambda: ott_gap(x, y, reg))
    ours(y)
    mine, theirs = [timed(lambda: ours(y))], [timed(lambda: ott(y))]
    if theirs[0][0] * repeats < BUDGET:
        mine, theirs = [], []  # those were to warm up
        for _ in range(repeats):  # A B A B
            mine.append(timed(lambda: ours(y)))
            theirs.append(timed(lambda: ott(y)))
    warm = otf.WarmStart()
    steps = [timed(lambda images=images: ours(images, warm)) for images in path(y)]
    (r, gradient), (value, (iterations, f, g), gradient_ott) = mine[-1][1], theirs[-1][1]
    shift = reg * math.log(n)
    seconds = {
        "ours": [s for s, _ in mine],
        "ott": [s for s, _ in theirs],
        "warm": [s for s, _ in steps[1:]],
    }
    mid = {k: float(np.median(v)) for k, v in seconds.items()}
    exact = otf.monge_gap(x, y, reg=reg, tol=1e-8, on_fail="ignore")
    scale = abs(exact.gradient).max()
    fx, gy = (np.asarray(v, float) for v in r.potentials)
    return {
        "case": f"monge-{n}", "n": n, "d": d, "reg": reg, "tol": TOL, "seconds": seconds,
        "compile_seconds": compiling, "speedup": mid["ott"] / mid["ours"],
        "speedup_warm": mid["ott"] / mid["warm"], "n_iter": r.n_iter,
        "n_iter_warm": int(np.median([v[0].n_iter for _, v in steps[1:]])),
        "n_iter_ott": int(iterations),
        "error": error_of(x, y, reg, fx - shift, gy - shift),
        "error_warm": steps[-1][1][0].marginal_error,
        "error_ott": error_of(x, y, reg, np.asarray(f), np.asarray(g)),
        "value_error": abs(r.value - exact.value) / abs(exact.value),
        "value_error_ott": abs(float(value) - exact.value) / abs(exact.value),
        "gradient_error": float(abs(gradient - exact.gradient).max() / scale),
        "gradient_error_ott": float(abs(np.asarray(gradient_ott) - exact.gradient).max() / scale),
    }  # fmt: skip


def ott_gap(x: np.ndarray, y: np.ndarray, reg: float) -> Callable[[np.ndarray], Any]:
    import jax

    jax.config.update("jax_enable_x64", True)
    from ott.neural.methods.monge_gap import monge_gap_from_samples

    def loss(images: Any) -> Any:
        value, out = monge_gap_from_samples(
            x, images, epsilon=reg, return_output=True, threshold=TOL, max_iterations=100_000
        )
        return value, (out.n_iters, out.f, out.g)

    step = jax.jit(jax.value_and_grad(loss, has_aux=True)).lower(y).compile()

    def run(images: np.ndarray) -> Any:
        (value, aux), gradient = jax.block_until_ready(step(images))
        return value, aux, gradient

    return run


def peak_memory(n: int, d: int) -> Row:
    """Bytes that a gap and its gradient add to the peak of a process that has done a small one."""
    code = (
        "import re, numpy as np, ot_fast as otf\n"
        f"n, d = {n}, {d}\n"
        "rng = np.random.default_rng(0); x = rng.standard_normal((n, d)); y = x + 1\n"
        "def size(name):\n"
        "    text = open('/proc/self/status').read()\n"
        "    return 1024 * int(re.search(name + r':\\s+(\\d+)', text)[1])\n"
        "otf.monge_gap(x[:200], y[:200], reg=1.0).gradient\n"
        "open('/proc/self/clear_refs', 'w').write('5'); before = size('VmRSS')\n"
        "otf.monge_gap(x, y, reg=0.02 * d, tol=1e-2).gradient; print(size('VmHWM') - before)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {"case": "memory", "n": n, "d": d, "peak_bytes": int(out.stdout), "C_bytes": 8 * n * n}


# ---- the fit of examples/moons.py -------------------------------------------------------------


def example() -> Any:
    file = Path(__file__).parents[1] / "examples" / "moons.py"
    spec = importlib.util.spec_from_file_location("moons", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["moons"] = module
    spec.loader.exec_module(module)
    return module


def fit_ott(moons: Any, cost: str, steps: int, batch: int) -> tuple[float, Callable[..., Any]]:
    """The same fit in JAX, in float32 and with OTT's defaults, as its tutorial has it."""
    import jax
    import jax.numpy as jnp
    import optax
    from ott.geometry import costs
    from ott.neural.methods.monge_gap import monge_gap_from_samples
    from ott.tools import sinkhorn_divergence

    jax.config.update("jax_enable_x64", False)
    rng = np.random.default_rng(0)
    sources, targets = moons.moons(20_000, rng), moons.s_curve(20_000, rng)
    reg_fit = 0.1 * moons.mean_cost(targets[:1024], targets[:1024], "sqeuclidean")
    reg_gap = 0.01 * moons.mean_cost(sources[:1024], targets[:1024], cost)
    cost_fn = costs.SqEuclidean() if cost == "sqeuclidean" else costs.Euclidean()
    width = (2, 32, 64, 32, 2)
    keys = jax.random.split(jax.random.key(0), 4)
    parameters = [
        (jax.random.uniform(k, (i, o), minval=-1, maxval=1) / i**0.5, jnp.zeros(o))
        for k, i, o in zip(keys, width[:-1], width[1:], strict=True)
    ]

    def net(p: Any, x: Any) -> Any:
        for W, b in p[:-1]:
            x = jax.nn.gelu(x @ W + b)
        return x @ p[-1][0] + p[-1][1]

    def loss(p: Any, x: Any, y: Any) -> Any:
        Tx = net(p, x)
        fitting = sinkhorn_divergence.sinkdiv(Tx, y, epsilon=reg_fit)[0]
        return fitting + monge_gap_from_samples(x, Tx, cost_fn=cost_fn, epsilon=reg_gap)

    adam = optax.adam(1e-3)

    @jax.jit
    def train(p: Any, state: Any, x: Any, y: Any) -> Any:
        value, g = jax.value_and_grad(loss)(p, x, y)
        update, state = adam.update(g, state)
        return optax.apply_updates(p, update), state, value

    state = adam.init(parameters)
    draw = lambda s: jnp.asarray(s[rng.integers(len(s), size=batch)], jnp.float32)  # noqa: E731
    p, state, _ = train(parameters, state, draw(sources), draw(targets))
    start = time.perf_counter()
    for _ in tqdm(range(steps), desc=f"OTT, {cost}", unit="step", leave=False):
        p, state, value = train(p, state, draw(sources), draw(targets))
    jax.block_until_ready(value)
    seconds = time.perf_counter() - start
    return seconds, lambda x: np.asarray(net(p, jnp.asarray(x, jnp.float32)), float)


def losses(moons: Any, net: Callable[..., Any], cost: str) -> Row:
    """Divergence and gap of a map on 2 048 fresh points: the same judge for all."""
    rng = np.random.default_rng(99)
    x, y = moons.moons(2048, rng), moons.s_curve(2048, rng)
    Tx = net(x)
    S = otf.sinkhorn_divergence(Tx, y, reg=0.1 * moons.mean_cost(y, y, "sqeuclidean"), tol=1e-5)
    reg = 0.01 * moons.mean_cost(x, y, cost)
    return {"divergence": S.value, "gap": otf.monge_gap(x, Tx, cost=cost, reg=reg, tol=1e-4).value}


def fit_case(cost: str, steps: int, batch: int = 256) -> Row:
    import torch

    torch.set_num_threads(1)
    moons = example()
    moons.fit(cost, 1.0, 10, batch, progress=False)
    f = moons.fit(cost, 1.0, steps, batch)
    seconds, net = fit_ott(moons, cost, steps, batch)
    return {
        "case": f"moons-{cost}", "steps": steps, "batch": batch, "seconds": f.seconds,
        "seconds_ott": seconds, "speedup": seconds / f.seconds, "warm": repr(f.warm),
        "ours": losses(moons, f, cost), "ott": losses(moons, net, cost),
    }  # fmt: skip


def run(args: argparse.Namespace) -> None:
    out = args.out / ("monge-quick.json" if args.quick else "monge.json")
    rows = []
    sizes = SIZES[:2] if args.quick else SIZES
    print(f"{'case':22} {'ours ms':>9} {'warm ms':>9} {'OTT ms':>9} {'cold x':>7} {'warm x':>7}"
          f" {'passes':>11} {'error':>17} {'gradient error':>17}")  # fmt: skip
    for n in sizes:
        for d in DIMENSIONS:
            r = gap_case(n, d, args.repeats or 5, args.threads)
            ms = {k: 1e3 * float(np.median(v)) for k, v in r["seconds"].items()}
            print(
                f"{f'n = {n}, d = {d}':22} {ms['ours']:9.2f} {ms['warm']:9.2f} {ms['ott']:9.1f} "
                f"{r['speedup']:7.1f} {r['speedup_warm']:7.1f} "
                f"{r['n_iter']:3d}/{r['n_iter_warm']:2d}/{r['n_iter_ott']:4d} "
                f"{r['error']:8.1e} {r['error_ott']:8.1e} "
                f"{r['gradient_error']:8.1e} {r['gradient_error_ott']:8.1e}",
                flush=True,
            )
            rows.append(r)
    for n in (4096, 20_000, 40_000)[: 1 if args.quick else 3]:
        rows.append(peak_memory(n, 2))
        print(f"peak memory, n = {n}: {rows[-1]['peak_bytes'] / 2**20:.0f} MiB, "
              f"C would be {rows[-1]['C_bytes'] / 2**20:.0f} MiB", flush=True)  # fmt: skip
    for cost in ("sqeuclidean", "euclidean"):
        r = fit_case(cost, 500 if args.quick else 5000)
        print(
            f"{r['case']:20} {r['steps']} steps: ours {r['seconds']:.1f} s, OTT "
            f"{r['seconds_ott']:.1f} s ({r['speedup']:.1f}x); {r['ours']} {r['ott']}",
            flush=True,
        )
        rows.append(r)
    result = {"suite": "monge", "machine": machine.describe(args.threads), "rows": rows}
    report.write(result, out)
