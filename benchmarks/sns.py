"""The three experiments of Accelerating Sinkhorn with Sparse Newton Iterations (ICLR 2024), again.

Digits stand in for MNIST. `PUBLISHED` holds the paper's N1, kept entries a row, SNS iterations
(Newton ones), seconds on an M1 Pro, Sinkhorn iterations, and more kept entries a row: each
experiment is run with the paper's density, then with these.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import ot_fast as otf

from . import cases, machine, report

REG = cases.SMALL_REG
TOL = 1e-12
PUBLISHED = [
    (partial(cases.assignment, 500, REG), 20, 2, 29, 9, 0.34, 56_199, (3, 5)),
    (partial(cases.digits, "L2", REG), 20, 2, 53, 33, 2.33, 2_041, (15, 20, 30)),
    (partial(cases.digits, "L1", REG), 700, 15, 777, 77, 12.2, 5_748, (30, 60)),
]


def run(args: argparse.Namespace) -> None:
    rows = []
    heads = f"{'kept a row':>10} {'iterations':>10} {'Newton':>7} {'seconds':>8} {'error':>9}"
    print(f"{'case':16} {'method':8} {heads}  paper")
    for build, steps, kept, total, newton, seconds, sinkhorn, denser in PUBLISHED:
        case = build()
        for density in (kept, *denser, None):
            method: otf.SNS | str = "newton"
            if density is not None:
                method = otf.SNS(steps=steps, density=density / len(case.C))
            start = time.perf_counter()
            r = otf.sinkhorn(
                case.a, case.b, case.C, case.reg, method=method, tol=args.tol or TOL,
                threads=args.threads, on_fail="ignore", time_limit=60,
            )  # fmt: skip
            took = time.perf_counter() - start
            steps_done = int(r.message.split(" Sinkhorn and ")[1].split()[0]) if density else 0
            count = min(steps, r.n_iter) + steps_done if density else r.n_iter
            paper = f"{total} ({newton}), {seconds} s; Sinkhorn {sinkhorn:,}"
            paper = paper if density == kept else ""
            print(
                f"{case.name:16} {r.method:8} {density or '-':>10} {count:10d} "
                f"{steps_done or '-':>7} {took:8.3f} {r.marginal_error:9.1e}  {paper}"
            )
            row = {
                "case": case.name,
                "method": r.method,
                "kept_a_row": density,
                "iterations": count,
            }
            row |= {"passes": r.n_iter, "newton": steps_done, "seconds": took}
            row |= {"error": r.marginal_error, "status": str(r.status), "paper": paper}
            rows.append(row)
    result = {"suite": "sns", "machine": machine.describe(args.threads), "rows": rows}
    report.write(result, args.out / "sns.json")
