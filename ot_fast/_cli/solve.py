"""``python -m ot_fast solve``: one problem given as .npy files."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ot_fast as otf

from .arguments import (
    CommandError,
    check_writable,
    count,
    count_or_zero,
    fraction,
    nonnegative,
    positive,
)

Array = NDArray[Any]


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "solve",
        help="solve a problem given as .npy files",
        description="Solve entropic optimal transport between two histograms with a dense cost.",
    )
    parser.add_argument("a", help="weights of the rows, shape (n,); - for uniform weights")
    parser.add_argument("b", help="weights of the columns, shape (m,); - for uniform weights")
    parser.add_argument("C", help="cost, shape (n, m)")
    parser.add_argument("--reg", type=positive, required=True, help="in the units of the cost")
    parser.add_argument("--method", default="auto", help="as in ot_fast.sinkhorn (default: auto)")
    parser.add_argument("--tol", type=nonnegative, help="on the marginal error (default: 1e-9)")
    parser.add_argument("--max-iter", type=count_or_zero, help="passes at most")
    parser.add_argument("--threads", type=count, help="default: all that the process may use")
    parser.add_argument("--out", type=Path, help="write potentials and certificate to this .npz")
    parser.add_argument("--plan", action="store_true", help="write the sparse plan as well")
    parser.add_argument(
        "--plan-mass",
        type=fraction,
        default=0.999,
        help="fraction of the plan that its entries hold together (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    if arguments.plan and arguments.out is None:
        raise CommandError("--plan needs --out: the plan is written to that file", 2)
    out = None if arguments.out is None else _npz_path(arguments.out)
    a = None if arguments.a == "-" else load_array(arguments.a)
    b = None if arguments.b == "-" else load_array(arguments.b)
    cost = load_array(arguments.C)
    start = time.perf_counter()
    try:
        result = otf.sinkhorn(
            a,
            b,
            cost,
            arguments.reg,
            method=arguments.method,
            tol=arguments.tol,
            max_iter=arguments.max_iter,
            threads=arguments.threads,
            on_fail="ignore",
        )
    except (TypeError, ValueError) as error:
        raise CommandError(str(error), 2) from error
    elapsed = time.perf_counter() - start
    print(summary(result, elapsed))
    if out is not None:
        write_result(out, result, arguments.plan_mass if arguments.plan else None)
        print(f"\nwrote {out}")
    if not result.converged:
        raise CommandError(f"not converged: {result.message}", 3)
    return 0


def load_array(path: str) -> Array:
    """Read one array from a .npy file; anything else is a CommandError."""
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}", 2) from error
    except (ValueError, EOFError) as error:
        raise CommandError(f"{path} is not a .npy file of numbers", 2) from error
    if not isinstance(array, np.ndarray):
        raise CommandError(f"{path} is an archive of several arrays: give a .npy file", 2)
    return array


def summary(result: Any, elapsed: float) -> str:
    """Return what ``solve`` prints."""
    n, m = result.geometry.shape
    lines = {
        "problem": f"{n:,} x {m:,}, reg {result.reg:g}, method {result.method}",
        "status": str(getattr(result.status, "value", result.status)),
        "passes": f"{result.n_iter:,} in {elapsed:.3g} s",
        "marginal error": f"{result.marginal_error:.2e} (tolerance {result.tol:g})",
        "value": f"{result.value:.10g}",
        "<C, P>": f"{result.value_linear:.10g}",
        "certificate": f"{result.lower_bound:.10g} <= OT <= {result.upper_bound:.10g}",
    }
    return "\n".join(f"{name:<16}{text}" for name, text in lines.items())


def write_result(path: Path, result: Any, plan_mass: float | None = None) -> None:
    """Write potentials, values, bounds and status to a .npz, with the sparse plan if asked.

    Parameters
    ----------
    path : Path
        File to write.
    result : OTResult
        What to write.
    plan_mass : float, optional
        Fraction of the plan held by the entries to write, as the arrays ``plan_data``,
        ``plan_indices``, ``plan_indptr`` and ``plan_shape`` of a CSR matrix; none by default.
    """
    f, g = result.potentials
    fields: dict[str, Any] = {"f": f, "g": g}
    for name in (
        "reg", "tol", "value", "value_linear", "dual_value", "lower_bound", "upper_bound",
        "marginal_error", "converged", "n_iter", "method", "message",
    ):  # fmt: skip
        fields[name] = getattr(result, name)
    fields["status"] = str(getattr(result.status, "value", result.status))
    if plan_mass is not None:
        plan = result.sparsify(mass=plan_mass)
        fields["plan_shape"] = np.array(plan.shape)
        for name in ("data", "indices", "indptr"):
            fields[f"plan_{name}"] = getattr(plan, name)
    try:
        with path.open("wb") as file:
            np.savez(file, **fields)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}", 2) from error


def _npz_path(out: Path) -> Path:
    path = out if out.suffix == ".npz" else out.with_name(out.name + ".npz")
    check_writable(path)
    return path
