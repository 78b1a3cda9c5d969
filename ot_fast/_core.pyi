"""The CPU core: thin, unchecked beyond sizes. Vectors are float64, potentials in units of reg."""

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Floats = NDArray[np.float32] | NDArray[np.float64]

__version__: str

@final
class Geometry:
    @property
    def shape(self) -> tuple[int, int]: ...

@final
class CostStats:
    """Of finite costs; ``first_bad`` is the flat index of the first NaN or -inf, -1 for none."""

    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def nan(self) -> int: ...
    @property
    def neg_inf(self) -> int: ...
    @property
    def pos_inf(self) -> int: ...
    @property
    def first_bad(self) -> int: ...

Callback = Callable[[dict[str, Any]], object]

def dense(C: Floats, shift: float = 0.0, transposed: bool = False) -> Geometry: ...
def points(x: Floats, y: Floats, cost: str, p: float = 2.0, threads: int = 0) -> Geometry: ...
def bounds(points: Floats) -> Vector: ...
def stats(geometry: Geometry, threads: int = 0) -> CostStats: ...
def c_transform(
    geometry: Geometry, g: Vector, weight: Vector, threads: int = 0
) -> tuple[Vector, Vector]: ...
def column_min(geometry: Geometry, f: Vector, weight: Vector, threads: int = 0) -> Vector: ...
def cost_apply(geometry: Geometry, w: Vector, threads: int = 0) -> Vector: ...
def cost_rows(geometry: Geometry, out: Floats, threads: int = 0) -> None: ...
@final
class Limits:
    def __init__(self, tol: float, max_iter: int, time_limit: float = 0.0) -> None: ...

@final
class Problem:
    def __init__(
        self, geometry: Geometry, a: Vector, b: Vector, reg: float, range: float
    ) -> None: ...

class Outcome:
    @property
    def status(self) -> str: ...
    @property
    def n_iter(self) -> int: ...
    @property
    def error(self) -> float: ...
    @property
    def dual_value(self) -> float: ...
    @property
    def message(self) -> str: ...
    @property
    def history(self) -> dict[str, Vector]: ...

@final
class EntropicOutcome(Outcome):
    @property
    def reg(self) -> float: ...
    @property
    def newton(self) -> bool: ...
    @property
    def newton_steps(self) -> int: ...

@final
class SparseSolution(Outcome):
    @property
    def plan(self) -> tuple[NDArray[np.int64], NDArray[np.int32], Vector]: ...

@final
class SinkhornOptions:
    def __init__(
        self,
        limits: Limits,
        *,
        kernel: str | None = None,
        start: float = 0.0,
        rho: float = ...,
        symmetric: bool = False,
    ) -> None: ...

@final
class SnsOptions:
    def __init__(self, limits: Limits, *, steps: int, density: float) -> None: ...

@final
class QuadraticOptions:
    def __init__(self, limits: Limits, *, by_rows: bool, warm: bool) -> None: ...

@final
class CardinalityOptions:
    def __init__(
        self, limits: Limits, *, by_rows: bool, warm: bool, max_nz: int, semi_dual: bool
    ) -> None: ...

@final
class ExactOptions:
    """``rows`` and ``columns`` are the pairs of a basis to start from."""

    def __init__(
        self,
        limits: Limits,
        *,
        warm: bool,
        rows: NDArray[np.int32],
        columns: NDArray[np.int32],
    ) -> None: ...

@final
class ExactSolution(Outcome):
    @property
    def value(self) -> float: ...
    @property
    def least(self) -> float: ...
    @property
    def proved(self) -> bool: ...
    @property
    def rounds(self) -> int: ...
    @property
    def arcs(self) -> int: ...
    @property
    def plan(self) -> tuple[NDArray[np.int32], NDArray[np.int32], Vector]:
        """Rows, columns and mass of the basis."""
    @property
    def cut(self) -> tuple[NDArray[np.int32], NDArray[np.int32], float]:
        """Rows that cannot send all of their mass, the columns of their allowed pairs, and the
        mass that the rows have beyond that of the columns; empty where there is a plan.
        """

@final
class Plan:
    def __init__(
        self, geometry: Geometry, a: Vector, reg: float, phi: Vector, h: Vector
    ) -> None: ...

def sinkhorn(
    problem: Problem,
    options: SinkhornOptions,
    rows: Vector,
    columns: Vector,
    callback: Callback | None,
    threads: int,
) -> EntropicOutcome: ...
def newton(
    problem: Problem,
    options: SinkhornOptions,
    rows: Vector,
    columns: Vector,
    callback: Callback | None,
    threads: int,
) -> EntropicOutcome: ...
def sns(
    problem: Problem,
    options: SnsOptions,
    rows: Vector,
    columns: Vector,
    callback: Callback | None,
    threads: int,
) -> EntropicOutcome: ...
def resolved_reg(problem: Problem, phi: Vector, psi: Vector, threads: int) -> float: ...
def quadratic(
    problem: Problem,
    options: QuadraticOptions,
    rows: Vector,
    columns: Vector,
    callback: Callback | None,
    threads: int,
) -> SparseSolution: ...
def constrained(
    problem: Problem,
    options: CardinalityOptions,
    rows: Vector,
    columns: Vector,
    callback: Callback | None,
    threads: int,
) -> SparseSolution: ...
def marginals(plan: Plan, f64: bool, threads: int = 0) -> tuple[Vector, Vector, Vector]: ...
def gradient(plan: Plan, rho: float, phi: Vector, out: Vector, threads: int = 0) -> None: ...
def softmin(geometry: Geometry, reg: float, h: Vector, threads: int = 0) -> Vector: ...
def plan_rows(plan: Plan, first: int, last: int, out: Floats, threads: int = 0) -> None: ...
def apply_plan(plan: Plan, V: Vector, columns: bool, threads: int = 0) -> Vector: ...
def cheap_pairs(
    geometry: Geometry, f: Vector, g: Vector, margin: float, limit: int, threads: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int32], Vector] | None: ...
def complete_plan(
    missing_a: Vector,
    missing_b: Vector,
    row: NDArray[np.int32],
    col: NDArray[np.int32],
    cost: Vector,
    held: Vector,
) -> tuple[Vector, Vector, Vector]: ...
def assign(
    geometry: Geometry,
) -> tuple[NDArray[np.int64], Vector, Vector, float, NDArray[np.int64]]: ...
def exact_listed(
    begin: NDArray[np.int64],
    column: NDArray[np.int32],
    cost: Vector,
    masses: tuple[Vector, Vector],
    options: ExactOptions,
    at: tuple[Vector, Vector],
    callback: Callback | None,
) -> ExactSolution: ...
def exact(
    problem: Problem,
    options: ExactOptions,
    rows: Vector,
    columns: Vector,
    callback: Callback | None,
    threads: int,
) -> ExactSolution:
    """``rows`` and ``columns`` are start (where warm) and result: f and g of costs not shifted."""

def distances_1d(
    x: Floats,
    y: Floats,
    a: Vector | None,
    b: Vector | None,
    p: float,
    period: float,
    point_gradients: bool,
    weight_gradients: bool,
    threads: int,
) -> tuple[Vector, Vector, Vector, Vector, Vector]: ...
def plan_1d(
    x: Floats,
    y: Floats,
    a: Vector | None,
    b: Vector | None,
    p: float,
    period: float,
    threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], Vector]: ...
def isa() -> str: ...
def isa_built() -> list[str]: ...
def default_threads() -> int: ...
def machine_limits(threads: int = 0) -> dict[str, float]: ...
