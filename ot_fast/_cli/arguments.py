"""Arguments of the commands: their types, the files they name, and the error of a wrong one."""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path


class CommandError(Exception):
    """What the command line reports in one line, with the exit status that goes with it."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be finite and > 0, not {text}")
    return value


def nonnegative(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"must be finite and >= 0, not {text}")
    return value


def fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return value


def count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, not {text}")
    return value


def count_or_zero(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be an integer >= 0, not {text}")
    return value


# argparse names the type in "invalid ... value".
positive.__name__ = nonnegative.__name__ = fraction.__name__ = "number"
count.__name__ = count_or_zero.__name__ = "integer"


def check_writable(out: Path) -> None:
    """Raise CommandError where a file cannot be written."""
    if out.is_dir():
        raise CommandError(f"{out} is a folder", 2)
    if not out.parent.is_dir():
        raise CommandError(f"cannot write {out}: there is no folder {out.parent}", 2)
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise CommandError(f"cannot write {out}: permission denied", 2)
