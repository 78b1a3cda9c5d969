"""Arrays that are attributes of a result: the caller reads them and cannot change them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from .base import Place


def lock(value: Any) -> Any:
    """The value itself, with its NumPy arrays read-only: a tuple, dict or CSR matrix of them."""
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            lock(part)
    elif hasattr(value, "indptr"):
        lock((value.data, value.indices, value.indptr))
    return value


class ReadOnly(cached_property[Any]):
    """Arrays of an object that has a `_place`, computed on first access and kept.

    NumPy's are read-only, JAX's are by nature. The arrays of other libraries can be written to:
    they are not kept but computed on every access, so that no change of them is seen later.
    """

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        place: Place = instance._place
        if place.writable:
            return self.func(instance)
        return lock(super().__get__(instance, owner))


def lasting(instance: Any) -> dict[str, Any]:
    """The attributes that a pickle holds: not those that are `ReadOnly`, which follow from them."""
    kind = type(instance)
    return {
        k: v for k, v in vars(instance).items() if not isinstance(getattr(kind, k, None), ReadOnly)
    }
