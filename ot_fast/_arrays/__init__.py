"""Arrays of other libraries: where they live, and how they become what the core takes.

A problem lives in one place, that of its costs: host memory, or a CUDA device as one library sees
it. Solves leave matrices of size n x m, points and gradients there; vectors of length n and m are
handled on the host. Arithmetic on arrays is written once, over the functions that NumPy and the
other libraries share (`namespace` of a place). `base` states what a library is asked for; one file
a library gives it, and is imported when the first array of the library comes.
"""

from .base import Cuda, Place, dtype_of, is_bfloat16
from .host import HOST
from .place import as_float, byte_strides, on_device, place_of, to_numpy
from .read_only import ReadOnly, lasting, lock

__all__ = [
    "HOST",
    "Cuda",
    "Place",
    "ReadOnly",
    "as_float",
    "byte_strides",
    "dtype_of",
    "is_bfloat16",
    "lasting",
    "lock",
    "on_device",
    "place_of",
    "to_numpy",
]
