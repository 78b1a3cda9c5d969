"""Costs of some pairs, as a sparse matrix of SciPy; all other pairs are forbidden."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._arrays import HOST
from .._backends import core

Vector = NDArray[np.float64]


class ListedCost:
    """A sparse matrix of costs, which no other solver than `emd` takes.

    Missing entries are forbidden pairs, stored zeros are costs of 0. It is never made dense.

    Attributes
    ----------
    C : scipy.sparse.csr_array, shape (n, m)
        A copy in float64, columns sorted.
    shape : tuple of int
    """

    place = HOST
    transposed = False
    core = core

    def __init__(self, C: Any) -> None:
        import scipy.sparse as sp

        if C.ndim != 2 or 0 in C.shape:
            raise ValueError(f"C must be a nonempty matrix (n, m); got shape {C.shape}")
        if C.dtype.kind not in "fiub":
            raise TypeError(f"C must hold real numbers; its dtype is {C.dtype}")
        self.C = sp.csr_array(C, dtype=np.float64, copy=True)
        self.C.sum_duplicates()
        self.shape = int(self.C.shape[0]), int(self.C.shape[1])
        cost = self.C.data
        bad = np.isnan(cost) | np.isneginf(cost)
        if bad.any():
            k = int(np.argmax(bad))
            i = int(np.searchsorted(self.C.indptr, k, "right")) - 1
            raise ValueError(
                f"C must not hold NaN or -inf; C[{i}, {self.C.indices[k]}] = {cost[k]} "
                f"({int(bad.sum())} of {len(cost)} entries)"
            )
        self.dtype = cost.dtype
        top = float(np.abs(cost[np.isfinite(cost)]).max(initial=0.0))
        extreme = top > 1e300 or 0 < top < 1e-100
        self.exponent = math.frexp(top)[1] if extreme else 0

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int32], Vector]:
        """Offsets of rows, columns and scaled costs, as the core reads them."""
        C = self.C
        cost = np.ldexp(C.data, -self.exponent) if self.exponent else C.data
        return C.indptr.astype(np.int64), C.indices.astype(np.int32), cost

    def row_minima(self, g: Vector) -> Vector:
        """``min_j C_ij - g_j`` in the core's units, 0 for a row without a pair."""
        begin, column, cost = self.pairs()
        low = np.full(self.shape[0], np.inf)
        np.minimum.at(low, np.repeat(np.arange(self.shape[0]), np.diff(begin)), cost - g[column])
        return np.where(np.isfinite(low), low, 0.0)

    def __repr__(self) -> str:
        return f"ListedCost(shape={self.shape}, pairs={self.C.nnz})"
