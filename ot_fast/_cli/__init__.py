"""The command line: ``python -m ot_fast demo``, ``info`` and ``solve``, a module each.

Exit status: 0 done; 1 something is missing on this machine; 2 a mistake in the input; 3 a solve did
not converge, and its answer is written all the same; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import ot_fast as otf

from . import demo, info, solve
from .arguments import CommandError


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
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m ot_fast",
        description="Optimal transport at any regularisation, with a certificate on every result.",
        epilog="Exit status: 0 done; 1 something is missing on this machine; 2 a mistake in the "
        "input; 3 not converged (the answer is written all the same); 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"ot_fast {otf.info()['version']}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (demo, info, solve):
        command.add_parser(commands)
    return parser


def _fail(message: str, code: int) -> int:
    print(f"ot_fast: {message}", file=sys.stderr)
    return code
