"""Solves cases in a process of its own: one that crashes or hangs is a finding, not the end."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

from .checks import run
from .draw import draw

HANGS = 300.0  # seconds after which a case's process is ended
RESOLVED = 1e-6  # of the largest cost: from this reg on, solves are asked to converge


def solve(number: int) -> dict[str, Any]:
    """The record of a case, as plain values."""
    case = draw(number)
    record = run(case)
    return {
        "case": number,
        "solver": case.solver,
        "kind": case.kind,
        "outcome": record.outcome,
        "found": [list(f) for f in dict.fromkeys(record.found)],
        "converged": record.converged,
        "asked": case.has_plan and case.relative_reg >= RESOLVED,
        "seconds": round(record.seconds, 3),
        "passes": record.passes,
        "text": str(case),
    }


def _work(pipe: Connection) -> None:
    while (number := pipe.recv()) is not None:
        pipe.send(solve(number))


class Worker:
    """A process that solves cases, started again where one ends it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def solve(self, number: int) -> dict[str, Any]:
        self._pipe.send(number)
        try:
            if self._pipe.poll(HANGS):
                return self._pipe.recv()
            outcome, text = "slow", f"ended after {HANGS:g} s"
        except (EOFError, ConnectionResetError):
            self._process.join()
            outcome, text = "crash", f"the process died: {self._process.exitcode}"
        self._process.kill()
        self._process.join()
        self._start()
        case = draw(number)
        return {
            "case": number,
            "solver": case.solver,
            "kind": case.kind,
            "outcome": outcome,
            "found": [[outcome, text]],
            "converged": None,
            "asked": False,
            "seconds": HANGS,
            "passes": 0,
            "text": str(case),
        }

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()
