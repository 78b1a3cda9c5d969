"""Statuses, exceptions and warnings."""

from __future__ import annotations

import enum


class Status(str, enum.Enum):
    """How a solve ended."""

    CONVERGED = "converged"
    MAX_ITER = "max_iter"
    TIME_LIMIT = "time_limit"
    STALLED = "stalled"

    def __str__(self) -> str:
        return self.value


class InfeasibleError(ValueError):
    """No plan with the given marginals avoids the forbidden pairs (infinite costs)."""


class ConvergenceWarning(UserWarning):
    """The marginal error asked for was not reached; the result says what was."""


class ConvergenceError(Exception):
    """Raised in place of the warning with ``on_fail="raise"``; ``result`` is the best iterate."""

    def __init__(self, message: str, result: object = None) -> None:
        super().__init__(message)
        self.result = result
