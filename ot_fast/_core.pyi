"""The CPU core: thin, unchecked beyond sizes. Vectors are float64, potentials in units of reg."""

from collections.abc import Callable
from typing import Any, TypedDict, final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Floats = NDArray[np.float32] | NDArray[np.float64]

__version__: str

@final
class Geometry:
    @property
    def shape(self) -> tuple[int, int]: ...

class Stats(TypedDict):
    min: float
    max: float
    nan: int
    neg_inf: int
    pos_inf: int
    first_bad: int

Callback = Callable[[dict[str, Any]], object]

def dense(C: Floats, shift: float = 0.0) -> Geometry: ...
def points(x: Floats, y: Floats, cost: str, p: float = 2.0, threads: int = 0) -> Geometry: ...
def bounds(points: Floats) -> Vector: ...
def stats(geometry: Geometry, threads: int = 0) -> Stats: ...
def c_transform(
    geometry: Geometry, g: Vector, weight: Vector, threads: int = 0
) -> tuple[Vector, Vector]: ...
def column_min(geometry: Geometry, f: Vector, weight: Vector, threads: int = 0) -> Vector: ...
def cost_apply(geometry: Geometry, w: Vector, threads: int = 0) -> Vector: ...
def cost_rows(geometry: Geometry, out: Floats, threads: int = 0) -> None: ...
def sinkhorn(
    geometry: Geometry,
    a: Vector,
    b: Vector,
    reg: float,
    range: float,
    phi: Vector,
    psi: Vector,
    tol: float,
    max_iter: int,
    time_limit: float,
    threads: int,
    callback: Callback | None,
    *,
    newton: bool,
    kernel: str,
    start: float,
    rho: float = ...,
    symmetric: bool = False,
) -> dict[str, Any]: ...
def sns(
    geometry: Geometry,
    a: Vector,
    b: Vector,
    reg: float,
    range: float,
    phi: Vector,
    psi: Vector,
    tol: float,
    max_iter: int,
    time_limit: float,
    threads: int,
    callback: Callback | None,
    *,
    steps: int,
    density: float,
) -> dict[str, Any]: ...
def sparse(
    geometry: Geometry,
    a: Vector,
    b: Vector,
    reg: float,
    range: float,
    f: Vector,
    g: Vector,
    tol: float,
    max_iter: int,
    time_limit: float,
    threads: int,
    callback: Callback | None,
    *,
    warm: bool,
    by_rows: bool,
    max_nz: int | None,
    semi_dual: bool,
) -> dict[str, Any]: ...
def marginals(
    geometry: Geometry,
    a: Vector,
    reg: float,
    phi: Vector,
    h: Vector,
    f64: bool,
    threads: int = 0,
) -> tuple[Vector, Vector, Vector]: ...
def gradient(
    geometry: Geometry,
    a: Vector,
    reg: float,
    phi: Vector,
    h: Vector,
    rho: float,
    out: Vector,
    threads: int = 0,
) -> Vector: ...
def softmin(geometry: Geometry, reg: float, h: Vector, threads: int = 0) -> Vector: ...
def plan_rows(
    geometry: Geometry,
    a: Vector,
    reg: float,
    phi: Vector,
    h: Vector,
    first: int,
    last: int,
    out: Floats,
    threads: int = 0,
) -> None: ...
def apply_plan(
    geometry: Geometry,
    a: Vector,
    reg: float,
    phi: Vector,
    h: Vector,
    V: Vector,
    columns: bool,
    threads: int = 0,
) -> Vector: ...
def isa() -> str: ...
def isa_built() -> list[str]: ...
def default_threads() -> int: ...
def limits(threads: int = 0) -> dict[str, float]: ...
