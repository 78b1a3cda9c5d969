"""Statuses, exceptions and warnings."""

from __future__ import annotations

import enum
import sys
import warnings
from typing import Any


class Status(str, enum.Enum):
    """How a solve ended."""

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"
    UNRESOLVED = "unresolved"  # solved at a larger reg, the least that float64 resolves

    def __str__(self) -> str:
        return self.value


class InfeasibleError(ValueError):
    """No plan with the given marginals avoids the forbidden pairs (infinite costs)."""


class ConvergenceWarning(UserWarning):
    """The requested tolerance was not reached; the message states the error that was."""


class ConvergenceError(Exception):
    """Raised in place of the warning with ``on_fail="raise"``; ``result`` is the best iterate."""

    def __init__(self, message: str, result: Any = None) -> None:
        super().__init__(message)
        self.result = result

    def __reduce__(self) -> tuple[type[ConvergenceError], tuple[str, Any]]:
        return type(self), (str(self), self.result)


# Frames of these packages stand between a caller and a solve: this one, and the libraries that
# call its layers.
_INNER = ("ot_fast", "torch", "jax", "jaxlib")


def warn(message: str) -> None:
    """A ConvergenceWarning that names the line of the caller's code."""
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).split(".")[0] in _INNER:
        frame = frame.f_back
        level += 1
    warnings.warn(message, ConvergenceWarning, stacklevel=level)
