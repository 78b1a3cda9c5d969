"""Results of solves: potentials, the plan and its certificate, computed when they are asked for.

``base`` holds what all results share, ``entropic``, ``sparse`` and ``exact`` the results of the
families. ``plan`` reads a plan that is not stored, ``certificate`` bounds the optimal cost,
``sparsify`` selects the largest entries, ``weightless`` completes the potentials.
"""

from .base import Result, Solve
from .entropic import OTResult
from .exact import ExactResult
from .plan import Plan
from .sparse import Bound, SparsePlan, SparseResult

__all__ = [
    "Bound",
    "ExactResult",
    "OTResult",
    "Plan",
    "Result",
    "Solve",
    "SparsePlan",
    "SparseResult",
]
