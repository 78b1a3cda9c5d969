"""Options of solvers: those that all of them take, and those of one method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from . import _validate
from ._errors import ConvergenceError, warn

if TYPE_CHECKING:
    from ._problem import Problem

Callback = Callable[[dict[str, Any]], Any]
ON_FAIL = ("warn", "raise", "ignore")


class Reported(Protocol):
    """A result, as far as :meth:`Options.report` reads it."""

    @property
    def converged(self) -> bool: ...
    @property
    def message(self) -> str: ...


R = TypeVar("R", bound=Reported)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that every solver takes, as the caller gave them, checked."""

    tol: float | None = None
    max_iter: int | None = None
    init: Any = None
    callback: Callback | None = None
    threads: int | None = None
    time_limit: float | None = None
    on_fail: str = "warn"

    def __post_init__(self) -> None:
        if self.tol is not None:
            _validate.real(self.tol, "tol", positive=False)
        if self.max_iter is not None:
            _validate.integer(self.max_iter, "max_iter", least=0)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be callable; got {type(self.callback).__name__}")
        if self.threads is not None:
            _validate.integer(self.threads, "threads", least=1, most=2**31 - 1)
        if self.time_limit is not None:
            _validate.real(self.time_limit, "time_limit", positive=True)
        _validate.choice(self.on_fail, "on_fail", ON_FAIL)

    @property
    def thread_count(self) -> int:
        """`threads`, with 0 for the default."""
        return int(self.threads or 0)

    def tolerance(self, problem: Problem) -> float:
        """`tol`; by default 1e-6 for float32 costs and 1e-9 for all others."""
        return float(self.tol) if self.tol is not None else 1e-6 if problem.single else 1e-9

    def passes(self, default: int) -> int:
        return default if self.max_iter is None else int(self.max_iter)

    def limits(self, problem: Problem, max_iter: int) -> Any:
        """The limits that the core keeps; `max_iter` is the default number of passes."""
        return problem.core.Limits(
            self.tolerance(problem), self.passes(max_iter), float(self.time_limit or 0.0)
        )

    def report(self, result: R) -> R:
        """The result; a warning or an exception where it has not converged."""
        if not result.converged:
            if self.on_fail == "raise":
                raise ConvergenceError(result.message, result)
            if self.on_fail == "warn":
                warn(result.message)
        return result


@dataclass(frozen=True)
class Scaling:
    """``method`` of :func:`sinkhorn`: iterate on a stored kernel ``exp(-C/reg)``.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Storage of the kernel: 4 or 8 bytes an entry. float32 limits neither the potentials nor the
        error reached, which are computed in float64 for float64 costs.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.random.default_rng(0).random((50, 60))
    >>> otf.sinkhorn(None, None, C, 0.1, method=otf.Scaling(dtype="float64")).method
    'scaling'
    """

    name: ClassVar[str] = "scaling"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        _validate.choice(self.dtype, "dtype", ("float32", "float64"))


@dataclass(frozen=True)
class SNS:
    """``method`` of :func:`sinkhorn`: Sinkhorn-Newton-Sparse as published.

    Parameters
    ----------
    steps : int
        Sinkhorn steps before the first Newton step (N1 in the paper), >= 0.
    density : float, optional
        Fraction of the plan's entries kept in the Hessian (lambda in the paper), in (0, 1]; by
        default ``2 / max(n, m)``.

    Notes
    -----
    Tang et al., Accelerating Sinkhorn with Sparse Newton Iterations, ICLR 2024.

    Examples
    --------
    >>> import numpy as np, ot_fast as otf
    >>> C = np.random.default_rng(0).random((50, 60))
    >>> otf.sinkhorn(None, None, C, 0.1, method=otf.SNS(steps=10, density=0.1)).method
    'sns'
    """

    name: ClassVar[str] = "sns"
    steps: int = 20
    density: float | None = None

    def __post_init__(self) -> None:
        _validate.integer(self.steps, "steps", least=0)
        if self.density is not None:
            _validate.fraction(self.density, "density")
