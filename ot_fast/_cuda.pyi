"""The CUDA core: the functions of ``_core`` on arrays of a device, told where instead of threads.

``where`` is (device, stream as an integer, allocator or None); the allocator takes a number of
bytes and returns (pointer, owner). Further: ``devices``, ``limits``, ``memory``, ``wait``,
``entries``, ``cost_of_pairs``, ``pass_seconds`` and ``Array``.
"""

from typing import Any

architectures: str

def __getattr__(name: str) -> Any: ...
