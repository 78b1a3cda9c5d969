"""Optimal transport at any regularisation, with a certificate on every result."""

from ._backends import core as _core
from ._backends import info
from ._errors import ConvergenceError, ConvergenceWarning, InfeasibleError, Status
from ._geometry import DenseCost, PointCloud
from ._options import SNS, Scaling
from ._results import ExactResult, OTResult, SparseResult
from ._warm import WarmStart
from .divergence import SinkhornDivergence, sinkhorn_divergence
from .entropic import entropic_map, sinkhorn, sinkhorn_path
from .exact import emd
from .linear_assignment import assignment
from .monge import MongeGap, monge_gap
from .one_dimension import emd_1d, wasserstein_1d
from .sliced import SlicedWasserstein, max_sliced_wasserstein, sliced_wasserstein
from .sparse import quadratic, sparsity_constrained

__version__: str = _core.__version__

__all__ = [
    "SNS",
    "ConvergenceError",
    "ConvergenceWarning",
    "DenseCost",
    "ExactResult",
    "InfeasibleError",
    "MongeGap",
    "OTResult",
    "PointCloud",
    "Scaling",
    "SinkhornDivergence",
    "SlicedWasserstein",
    "SparseResult",
    "Status",
    "WarmStart",
    "__version__",
    "assignment",
    "emd",
    "emd_1d",
    "entropic_map",
    "info",
    "max_sliced_wasserstein",
    "monge_gap",
    "quadratic",
    "sinkhorn",
    "sinkhorn_divergence",
    "sinkhorn_path",
    "sliced_wasserstein",
    "sparsity_constrained",
    "wasserstein_1d",
]


def __dir__() -> list[str]:
    return sorted(__all__)
