"""A second start for entropic solves that stall: the potentials of exact transport.

Where only weak entries link the blocks of a plan, the dual is linear in the shift of a block over
many times reg, and no step of Newton's method or of Sinkhorn sees how far it goes. Potentials of
the unregularised problem have these links. docs/decisions.md has the figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._options import Callback, Options
from ._problem import Problem

Vector = NDArray[np.float64]

LARGEST = 1 << 22  # costs of a problem whose exact solution is worth its time: seconds at most
PIVOTS = 2**62
AGAIN = "stalled, and started again from exact transport"
NONE = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Joined:
    """The outcomes of two solves, one after the other, as that of one."""

    status: str
    n_iter: int
    error: float
    dual_value: float
    reg: float
    message: str
    newton: bool
    history: dict[str, Vector]

    @classmethod
    def of(cls, first: Any, second: Any, later: float) -> Joined:
        """The better of the two; `later` is the time in seconds at which the second one started."""
        offset = {"n_iter": float(first.n_iter), "elapsed": later}
        history = {
            key: np.concatenate([column, second.history[key] + offset.get(key, 0.0)])
            for key, column in first.history.items()
        }
        best = first if first.error < second.error else second
        return cls(
            status=best.status,
            n_iter=first.n_iter + second.n_iter,
            error=best.error,
            dual_value=best.dual_value,
            reg=best.reg,
            message=f"{best.message}; {AGAIN}" if best.message else AGAIN,
            newton=best.newton,
            history=history,
        )


def solve(
    p: Problem,
    phi: Vector,
    psi: Vector,
    options: Options,
    most: int,
    run: Callable[[Options, bool], Any],
) -> Any:
    """The outcome of ``run(options, again)``, which solves from phi and psi; where it stalls, of a
    second run from exact transport. `most` is the default number of passes.
    """
    began = time.monotonic()
    first = run(options, False)
    passes = options.passes(most) - first.n_iter
    if first.status != "stalled" or passes < 1 or not _possible(p):
        return first
    kept = phi.copy(), psi.copy()
    if not _set_exact(p, phi, psi, _left(options, began)):
        phi[:], psi[:] = kept
        return first
    later = time.monotonic() - began
    left = replace(options, max_iter=passes, time_limit=_left(options, began))
    if options.callback is not None:
        left = replace(left, callback=_counting_on(options.callback, first.n_iter, later))
    second = run(left, True)
    if first.error < second.error:
        phi[:], psi[:] = kept
    return Joined.of(first, second, later)


def _possible(p: Problem) -> bool:
    """The network simplex works on the host, for fixed marginals."""
    return not p.geometry.place.cuda and math.isinf(p.rho) and math.prod(p.shape) <= LARGEST


def _left(options: Options, began: float) -> float | None:
    """Seconds of the time limit that are left."""
    if options.time_limit is None:
        return None
    return max(began + options.time_limit - time.monotonic(), 1e-9)


def _set_exact(p: Problem, phi: Vector, psi: Vector, seconds: float | None) -> bool:
    """Sets psi to the potentials of exact transport, phi to NaN; False where there is no plan."""
    core, f, g = p.core, np.zeros(len(p.a)), np.zeros(len(p.b))
    limits = core.Limits(0.0, PIVOTS, seconds or 0.0)
    settings = core.ExactOptions(limits, warm=False, rows=NONE, columns=NONE)
    outcome = core.exact(p.core_problem(1.0), settings, f, g, None, p.where)
    phi[:], psi[:] = np.nan, p.psi(g)
    return not len(outcome.cut[0]) and bool(np.isfinite(psi).all())


def _counting_on(callback: Callback, passes: int, seconds: float) -> Callback:
    """A callback that goes on counting where the first solve ended."""
    return lambda record: callback(
        record | {"n_iter": record["n_iter"] + passes, "elapsed": record["elapsed"] + seconds}
    )
