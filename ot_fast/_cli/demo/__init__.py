"""``python -m ot_fast demo``: the colours of one photograph carried to another.

``pictures`` reads the photographs, ``transfer`` solves, ``pot`` solves the same with POT, ``table``
is what is printed and ``figure`` what is drawn.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ..arguments import CommandError, check_writable, count, positive


def add_parser(commands: Any) -> None:
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
        "--pixels", type=count, default=10_000, help="drawn from each picture (default: 10000)"
    )
    parser.add_argument(
        "--reg",
        type=positive,
        default=0.01,
        help="as a fraction of the largest cost between the pixels drawn (default: %(default)s)",
    )
    parser.add_argument("--threads", type=count, help="default: all that the process may use")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Transfer the colours, write the picture and print the table."""
    images, out = arguments.image, arguments.out
    _require(["matplotlib", "PIL", "tqdm"] + ([] if images else ["sklearn"]))
    _check_out(out)
    from .figure import draw
    from .pictures import read_picture, sample_pictures
    from .pot import compare
    from .table import table
    from .transfer import transfer_colours

    source, target = (read_picture(p) for p in images) if images else sample_pictures()
    transfer = transfer_colours(source, target, arguments.pixels, arguments.reg, arguments.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts and layout: nothing the user can act on
        try:
            draw(transfer).savefig(out)
        except OSError as error:
            raise CommandError(f"cannot write {out}: {error.strerror or error}", 2) from error
    print(table(transfer, compare(transfer, arguments.threads)))
    print(f"\nwrote {out}")
    return 0 if transfer.result.converged else 3


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
