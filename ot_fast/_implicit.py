"""Gradients of the plan itself, by implicit differentiation of its optimality conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ._errors import warn

DENSE = 0.1  # fraction of entries from which products with the dense plan are faster
BLOCK = 1 << 22  # plan entries read together


def plan_vjp(P: Any, reg: float, G: Any, tol: float, xp: Any = np) -> tuple[Any, Any, Any]:
    """Gradients of <G, P> in a, b and C, for the entropic plan P (n, m).

    With dP = P * (s_i + t_j - dC/reg) and fixed marginals, (s, t) solves H (s, t) = ((G*P)1,
    (G*P)'1) for the Hessian H = [[diag r, P], [P', diag c]] of the dual. Rows are eliminated:
    (diag c - P' diag(1/r) P) t = w - P'(q/r), scaled by c^-1/2 on both sides and solved by CG with
    a Jacobi preconditioner. H is singular along (1, -1), in which no gradient has a part.

    Arrays are float64, of the library whose functions `xp` holds. P is read twice an iteration. Of
    its size are only the gradient in C and, on the host, a sparse copy of P without entries that
    rounding loses.
    """
    n, m = P.shape
    r, c = P.sum(1), P.sum(0)
    ir, ic = _inverse(r, xp), _inverse(c, xp)
    w, square = 0 * c, 0 * c
    parts = []
    step = max(1, BLOCK // m)
    for i in range(0, n, step):
        B = P[i : i + step]
        GP = G[i : i + step] * B
        parts.append(GP.sum(1))
        w = w + GP.sum(0)
        square = square + ir[i : i + step] @ (B * B)
    q = xp.concatenate(parts)

    A = _entries(P, r, c) if xp is np else P
    AT = A.T if A is P else A.T.tocsr()
    half = xp.sqrt(ic)
    null = xp.sqrt(c / c.sum())

    def H(u: Any) -> Any:
        return u - half * (AT @ (ir * (A @ (half * u))))

    def without_null(u: Any) -> Any:
        return u - null * (null @ u)

    rhs = without_null(half * (w - P.T @ (q * ir)))
    jacobi = 1 / xp.clip(1 - ic * square, 1e-12, None)
    u, count, left = _cg(H, rhs, jacobi, tol, 20 * m + 200)
    if left > 100 * tol:
        warn(
            f"plan_vjp: relative residual {left:.1e} after {count} iterations, above tol {tol:g}; "
            "raise reg or tol"
        )
    t = half * without_null(u)
    s = ir * (q - P @ t)
    out = s[:, None] + t  # P * (s + t - G) / reg
    out -= G
    out *= P
    out /= reg
    return s, t, out


def _inverse(v: Any, xp: Any) -> Any:
    """1/v, and 0 where v is 0."""
    on = v > 0
    return xp.where(on, 1 / xp.where(on, v, 1.0), 0.0)


def _entries(P: Any, r: Any, c: Any) -> Any:
    """P without entries below the rounding of their row and column sums: a sparse matrix where
    products with that are faster."""
    import scipy.sparse as sp

    kept = 1e-18 * np.maximum.outer(r, c) < P
    return sp.csr_array(P * kept) if kept.mean() < DENSE else P


def _norm(v: Any) -> float:
    return math.sqrt(float(v @ v))


def _cg(
    H: Callable[[Any], Any], rhs: Any, jacobi: Any, tol: float, limit: int
) -> tuple[Any, int, float]:
    """Preconditioned conjugate gradients: x, iterations, relative residual.

    Vectors stay where they are; two numbers an iteration come to the host.
    """
    size = _norm(rhs)
    x, r = 0 * rhs, rhs
    if size == 0:
        return x, 0, 0.0
    p = z = jacobi * r
    rz = r @ z
    left, k = 1.0, 0
    while left > tol and k < limit:
        Hp = H(p)
        curvature = float(p @ Hp)
        if not curvature > 0:  # all that is left is rounding
            break
        alpha = rz / curvature
        x = x + alpha * p
        r = r - alpha * Hp
        z = jacobi * r
        before, rz = rz, r @ z
        p = z + (rz / before) * p
        left, k = _norm(r) / size, k + 1
    return x, k, left
