"""Problems with a known answer: closed forms, exact solvers, extended precision."""

from __future__ import annotations

import numpy as np
from scipy import linalg, optimize, sparse, special
from scipy.spatial.distance import cdist

COSTS = ("sqeuclidean", "euclidean", "cityblock", "cosine", "power")
POWER = 1.5  # the exponent that stands for all in |x - y|^p


# ---- generators -------------------------------------------------------------------------------


def random_problem(n, m, seed=0, dtype="float64"):
    """Dirichlet weights and a uniform cost in [0, 1]."""
    rng = np.random.default_rng(seed)
    a, b = rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))
    return a.astype(dtype), b.astype(dtype), rng.random((n, m)).astype(dtype)


def clouds(n, m, d, seed=0, dtype="float64"):
    """Two point clouds with different means and spreads."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, d)), 0.5 + 1.5 * rng.normal(size=(m, d))
    return x.astype(dtype), y.astype(dtype)


def pairwise(x, y, cost):
    """The cost matrix in float64, from coordinates as given."""
    if cost == "power":
        return cdist(np.asarray(x, float), np.asarray(y, float)) ** POWER
    return cdist(np.asarray(x, float), np.asarray(y, float), cost)


def spec(cost):
    """The arguments of a PointCloud, or of a loss on clouds, for one of COSTS."""
    return {"cost": cost, "p": POWER if cost == "power" else None}


# ---- what a plan must satisfy -----------------------------------------------------------------


def marginal_error(P, a, b):
    """max(|P1 - a|_1, |P'1 - b|_1) / sum(a), b taken at the mass of a."""
    P, a, b = (np.asarray(v, np.longdouble) for v in (P, a, b))
    b = b * (a.sum() / b.sum())
    return float(max(abs(P.sum(1) - a).sum(), abs(P.sum(0) - b).sum()) / a.sum())


def gibbs_defect(P, a, b, C, reg):
    """How far log(P / ab) + C / reg is from f_i + g_j, as its largest 2 x 2 cross difference.

    With the marginals right, zero defect is exactly optimality, and no potentials are needed.
    Entries that lost digits to underflow, or on which the clamp of exp may act, are left out.
    """
    kind = np.finfo(np.asarray(P).dtype)
    P, a, b, C = (np.asarray(v, np.longdouble) for v in (P, a, b, C))
    normal = kind.tiny <= P
    P, a, b = P / P.sum(), a / a.sum(), b / b.sum()
    ab = np.outer(a, b)
    clamped = np.sqrt(np.longdouble(kind.tiny)) * ab
    seen = normal & (clamped < P) & np.isfinite(C)
    with np.errstate(all="ignore"):
        L = np.where(seen, np.log(P) - np.log(ab) + C / np.longdouble(reg), np.nan)
    cross = (
        L[:, :, None, None] + L[None, None] - L[:, None, None, :] - L.T[None, :, :, None]
    )  # [i, j, k, l]: L_ij + L_kl - L_il - L_kj
    return float(np.nanmax(abs(cross), initial=0.0))


def entropic_value(P, a, b, C, reg):
    """(<C,P> + reg KL(P | ab), <C,P>), with KL(P|Q) = sum P log(P/Q) - P + Q."""
    P, a, b, C = (np.asarray(v, np.longdouble) for v in (P, a, b, C))
    used = P > 0
    linear = (P[used] * C[used]).sum()
    kl = (P[used] * np.log(P[used] / np.outer(a, b)[used])).sum() - P.sum() + a.sum() * b.sum()
    return float(linear + np.longdouble(reg) * kl), float(linear)


# ---- independent solvers ----------------------------------------------------------------------


def reference(a, b, C, reg):
    """f, g, P of a small problem (n, m <= 12) in extended precision.

    Log-domain sweeps along a decreasing reg, then Newton on the semi-dual: residuals in
    longdouble, directions in float64, so that the accuracy is that of the residual.
    """
    a, b, C = (np.asarray(v, np.longdouble) for v in (a, b, C))
    a, b = a / a.sum(), b / b.sum()
    target, g = np.longdouble(reg), np.zeros_like(b)

    def row_update(g, reg):
        z = (g - C) / reg
        top = z.max(1, keepdims=True)
        return -reg * (np.log((b * np.exp(z - top)).sum(1)) + top[:, 0])

    def state(g):
        f = row_update(g, target)
        P = np.outer(a, b) * np.exp((f[:, None] + g - C) / target)
        return f, P, a @ f + b @ g

    level = max(target, np.ptp(C))
    while True:
        level = max(target, level / 4)
        for _ in range(200):
            f = row_update(g, level)
            z = (f[:, None] - C) / level
            top = z.max(0)
            g = -level * (np.log((a[:, None] * np.exp(z - top)).sum(0)) + top)
        if level == target:
            break
    f, P, value = state(g)
    for _ in range(200):
        residual = b - P.sum(0)
        if abs(residual).sum() < 1e-17:
            break
        hessian = (np.diag(P.sum(0)) - P.T @ (P / a[:, None])).astype(float) / float(target)
        step = np.linalg.lstsq(hessian, residual.astype(float), rcond=1e-14)[0]
        t = np.longdouble(1)
        while t > 1e-6 and state(g + t * step)[2] < value - 1e-18 * abs(value):
            t /= 2
        f, P, value = state(g + t * step)
        g = g + t * step
    assert abs(P.sum(0) - b).sum() < 1e-14, "the reference itself did not converge"
    return f, g, P


def exact_ot(a, b, C):
    """Unregularised OT value by linear programming; +inf forbids a pair."""
    a, b, C = (np.asarray(v, float) for v in (a, b, C))
    mass, a, b = a.sum(), a / a.sum(), b / b.sum()  # the solver's tolerances are absolute
    (n, m), allowed = C.shape, np.isfinite(C).ravel()
    marginals = sparse.vstack(
        [sparse.kron(sparse.eye(n), np.ones((1, m))), sparse.kron(np.ones((1, n)), sparse.eye(m))]
    ).tocsc()[:, allowed]
    rhs = np.concatenate([a, b])
    answer = optimize.linprog(C.ravel()[allowed], A_eq=marginals, b_eq=rhs, method="highs")
    assert answer.status == 0, answer.message
    return mass * answer.fun


def exact_assignment(C):
    """Unregularised OT value for uniform weights and a square cost."""
    rows, cols = optimize.linear_sum_assignment(C)
    return C[rows, cols].mean()


# ---- closed forms -----------------------------------------------------------------------------


def monotone_plan(x, a, y, b):
    """The optimal plan on the line for any convex cost of x - y."""
    i, j = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
    u, v = np.concatenate([[0], np.cumsum(a[i])]), np.concatenate([[0], np.cumsum(b[j])])
    P = np.empty((len(a), len(b)))
    P[np.ix_(i, j)] = np.minimum.outer(u[1:], v[1:]) - np.maximum.outer(u[:-1], v[:-1])
    return np.clip(P, 0, None)


def two_by_two(a1, b1, log_theta):
    """P_11 for weights (a1, 1-a1), (b1, 1-b1), where C_12 + C_21 - C_11 - C_22 = reg log_theta.

    The root of p (1 - a1 - b1 + p) = theta (a1 - p)(b1 - p), written without cancellation.
    """
    e = np.expm1(np.longdouble(log_theta))  # theta - 1
    half = 1 + e * (np.longdouble(a1) + b1)
    return 2 * (1 + e) * a1 * b1 / (half + np.sqrt(half * half - 4 * e * (1 + e) * a1 * b1))


def gaussian_on_grid(mean, cov, spacing, width=6.5):
    """A Gaussian sampled on a grid: sums over it equal integrals to near machine precision."""
    mean, cov = np.asarray(mean, float), np.asarray(cov, float)
    half = width * np.sqrt(np.diag(cov))
    axes = [
        m + spacing * np.arange(-np.ceil(h / spacing), np.ceil(h / spacing) + 1)
        for m, h in zip(mean, half, strict=True)
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(mean))
    z = points - mean
    return points, special.softmax(-0.5 * np.einsum("ni,ij,nj->n", z, np.linalg.inv(cov), z))


def gaussian_ot(mean_a, A, mean_b, B, reg):
    """Entropic OT of two Gaussians for |x - y|^2 (Janati, Muzellec, Peyre, Cuturi, 2020).

    Returns value, <C,P> and the cross-covariance of the plan.
    """
    A, B = np.asarray(A, float), np.asarray(B, float)
    s, d = reg / 2, len(A)
    root = linalg.sqrtm(A).real
    D = linalg.sqrtm(4 * root @ B @ root + s * s * np.eye(d)).real
    cross = 0.5 * root @ D @ np.linalg.inv(root) - 0.5 * s * np.eye(d)
    shift = np.sum((np.asarray(mean_a, float) - mean_b) ** 2)
    linear = shift + np.trace(A + B - 2 * cross)
    entropy = d * s * (1 - np.log(reg)) + s * np.linalg.slogdet(D + s * np.eye(d))[1]
    return shift + np.trace(A + B - D) + entropy, linear, cross
