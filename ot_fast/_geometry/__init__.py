"""Costs of a problem: a stored matrix, or two clouds whose costs the kernels compute."""

from typing import Any

from .dense import DenseCost
from .points import PointCloud, Points, points_of

Geometry = DenseCost | PointCloud

__all__ = ["DenseCost", "Geometry", "PointCloud", "Points", "as_geometry", "points_of"]


def as_geometry(C: Any) -> Geometry:
    """C itself where it is a geometry, else a DenseCost."""
    return C if isinstance(C, DenseCost | PointCloud) else DenseCost(C)
