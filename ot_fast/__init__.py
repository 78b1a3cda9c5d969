"""Optimal transport at any regularisation, with a certificate on every result."""

from ._backends import core as _core
from ._backends import info
from ._errors import ConvergenceError, ConvergenceWarning, InfeasibleError, Status
from ._geometry import DenseCost, PointCloud
from ._result import OTResult
from ._sparse_result import SparseResult
from .entropic import entropic_map, sinkhorn, sinkhorn_path
from .sparse import quadratic, sparsity_constrained

__version__: str = _core.__version__

__all__ = [
    "ConvergenceError",
    "ConvergenceWarning",
    "DenseCost",
    "InfeasibleError",
    "OTResult",
    "PointCloud",
    "SparseResult",
    "Status",
    "__version__",
    "entropic_map",
    "info",
    "quadratic",
    "sinkhorn",
    "sinkhorn_path",
    "sparsity_constrained",
]
