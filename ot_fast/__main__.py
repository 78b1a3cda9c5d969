"""The command line: ``python -m ot_fast demo``, ``info`` and ``solve``.

Exit status: 0 done; 1 something missing on this machine; 2 a mistake in the input; 3 a solve that
did not converge, whose answer is written all the same; 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import ot_fast as otf

from ._demo import CommandError, check_writable, run_demo

Array = NDArray[Any]

_PLAN_MASS = 0.999


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        The exit status.
    """
    arguments = build_parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except CommandError as error:
        return _fail(str(error), error.code)
    except MemoryError as error:
        return _fail(f"out of memory: {error}" if str(error) else "out of memory", 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all three commands."""
    parser = argparse.ArgumentParser(
        prog="python -m ot_fast",
        description="Optimal transport at any regularisation, with a certificate on every result.",
        epilog="Exit status: 0 done; 1 something missing on this machine; 2 a mistake in the "
        "input; 3 not converged (the answer is written all the same); 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"ot_fast {otf.info()['version']}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_info(commands)
    _add_solve(commands)
    return parser


def _fail(message: str, code: int) -> int:
    print(f"ot_fast: {message}", file=sys.stderr)
    return code


# ---------------------------------------------------------------------------- argument types


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be finite and > 0, not {text}")
    return value


def _nonnegative(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"must be finite and >= 0, not {text}")
    return value


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, not {text}")
    return value


def _count_or_zero(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, not {text}")
    return value


# argparse names the type in "invalid ... value".
_positive.__name__ = _nonnegative.__name__ = _fraction.__name__ = "number"
_count.__name__ = _count_or_zero.__name__ = "integer"


# ---------------------------------------------------------------------------- demo


def _add_demo(commands: Any) -> None:
    parser = commands.add_parser(
        "demo",
        help="carry the colours of one photograph to another",
        description="Carry the colours of one photograph to another by optimal transport, write "
        "one PNG with the pictures and the convergence, and print a table.",
    )
    parser.add_argument(
        "--image",
        nargs=2,
        metavar=("SOURCE", "TARGET"),
        help="your own pictures (default: china.jpg and flower.jpg of scikit-learn)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("ot_fast_demo.png"), help="default: %(default)s"
    )
    parser.add_argument(
        "--pixels", type=_count, default=10_000, help="drawn from each picture (default: 10000)"
    )
    parser.add_argument(
        "--reg",
        type=_positive,
        default=0.01,
        help="as a fraction of the largest cost between the pixels drawn (default: %(default)s)",
    )
    parser.add_argument("--threads", type=_count, help="default: all that the process may use")
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    text, converged = run_demo(
        arguments.image, arguments.out, arguments.pixels, arguments.reg, arguments.threads
    )
    print(text)
    return 0 if converged else 3


# ---------------------------------------------------------------------------- info


def _add_info(commands: Any) -> None:
    parser = commands.add_parser("info", help="say what this installation can use")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=_info)


def _info(arguments: argparse.Namespace) -> int:
    facts = otf.info()
    if arguments.json:
        print(json.dumps(facts, indent=2, default=str))
        return 0
    cuda = facts["cuda"]
    lines = {
        "version": facts["version"],
        "ISA": f"{facts['isa']} (built: {', '.join(facts['isa_built'])})",
        "threads": facts["threads"],
        "CUDA": "present" if cuda["present"] else "not present",
        "arrays": ", ".join(f"{name} {version}" for name, version in facts["arrays"].items()),
    }
    if cuda["reason"]:
        lines["CUDA"] += f": {cuda['reason']}"
    for name, text in lines.items():
        print(f"{name:<10}{text}")
    return 0


# ---------------------------------------------------------------------------- solve


def _add_solve(commands: Any) -> None:
    parser = commands.add_parser(
        "solve",
        help="solve a problem given as .npy files",
        description="Solve entropic optimal transport between two histograms with a dense cost.",
    )
    parser.add_argument("a", help="weights of the rows, shape (n,); - for uniform weights")
    parser.add_argument("b", help="weights of the columns, shape (m,); - for uniform weights")
    parser.add_argument("C", help="cost, shape (n, m)")
    parser.add_argument("--reg", type=_positive, required=True, help="in the units of the cost")
    parser.add_argument("--method", default="auto", help="as in ot_fast.sinkhorn (default: auto)")
    parser.add_argument("--tol", type=_nonnegative, help="on the marginal error (default: 1e-9)")
    parser.add_argument("--max-iter", type=_count_or_zero, help="passes at most")
    parser.add_argument("--threads", type=_count, help="default: all that the process may use")
    parser.add_argument("--out", type=Path, help="write potentials and certificate to this .npz")
    parser.add_argument("--plan", action="store_true", help="write the sparse plan as well")
    parser.add_argument(
        "--plan-mass",
        type=_fraction,
        default=_PLAN_MASS,
        help="fraction of the plan that its entries hold together (default: %(default)s)",
    )
    parser.set_defaults(run=_solve)


def _solve(arguments: argparse.Namespace) -> int:
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
        return _fail(f"not converged: {result.message}", 3)
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
        plan = result.sparse_plan(mass=plan_mass)
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


if __name__ == "__main__":
    sys.exit(main())
