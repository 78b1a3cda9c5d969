"""Gradients of the plan itself, by implicit differentiation of its optimality conditions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from ._errors import ConvergenceWarning

Vector = NDArray[np.float64]

DENSE = 0.1  # fraction of entries from which products with the whole plan are faster


def plan_vjp(
    P: NDArray[Any], reg: float, G: NDArray[Any], tol: float
) -> tuple[Vector, Vector, Vector]:
    """Gradients of <G, P> in a, b and C, for the entropic plan P (n, m).

    With dP = P * (s_i + t_j - dC/reg) and fixed marginals, (s, t) solves H (s, t) = ((G*P)1,
    (G*P)'1) for the Hessian H = [[diag r, P], [P', diag c]] of the dual. Rows are eliminated:
    (diag c - P' diag(1/r) P) t = w - P'(q/r), scaled by c^-1/2 on both sides and solved by CG with
    a Jacobi preconditioner. H is singular along (1, -1), in which no gradient has a part.
    """
    P = np.asarray(P, np.float64)
    r, c = P.sum(1), P.sum(0)
    GP = G * P
    q, w = GP.sum(1), GP.sum(0)
    ir = np.divide(1.0, r, out=np.zeros_like(r), where=r > 0)
    ic = np.divide(1.0, c, out=np.zeros_like(c), where=c > 0)
    # Entries below the rounding of their row and column add nothing to a product.
    kept = 1e-18 * np.maximum.outer(r, c) < P
    A = sp.csr_array(P * kept) if kept.mean() < DENSE else P
    K = (
        sp.diags_array(np.sqrt(ir)) @ A @ sp.diags_array(np.sqrt(ic))
        if sp.issparse(A)
        else (np.sqrt(ir)[:, None] * A * np.sqrt(ic))
    )
    KT = K.T.tocsr() if sp.issparse(K) else K.T
    null = np.sqrt(c / c.sum())
    rhs = np.sqrt(ic) * (w - P.T @ (q * ir))
    rhs -= null * (null @ rhs)
    square = np.asarray(K.multiply(K).sum(0) if sp.issparse(K) else (K * K).sum(0)).ravel()
    jacobi = 1 / np.maximum(1 - square, 1e-12)
    H = LinearOperator((len(c),) * 2, matvec=lambda u: u - KT @ (K @ u), dtype=np.float64)
    M = LinearOperator((len(c),) * 2, matvec=lambda u: jacobi * u, dtype=np.float64)
    u, info = cg(H, rhs, rtol=tol, atol=0.0, maxiter=20 * len(c) + 200, M=M)
    if info > 0:
        left = np.linalg.norm(rhs - H.matvec(u)) / np.linalg.norm(rhs)
        if left > 100 * tol:
            warnings.warn(
                f"plan_vjp: relative residual {left:.1e} after {info} iterations, above tol "
                f"{tol:g}; raise reg or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
    t = np.sqrt(ic) * (u - null * (null @ u))
    s = ir * (q - P @ t)
    return s, t, (P * (s[:, None] + t) - GP) / reg
