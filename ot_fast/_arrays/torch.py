"""CUDA tensors of PyTorch."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .base import Cuda, is_bfloat16


class Torch(Cuda):
    library = "torch"

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise MemoryError(str(error)) from None

    def stream(self) -> int:
        return int(torch.cuda.current_stream(self.device).cuda_stream)

    def allocator(self) -> Callable[[int], tuple[int, Any]]:
        def allocate(size: int) -> tuple[int, Any]:
            memory = self.unwritten(size, torch.uint8)
            return memory.data_ptr(), memory

        return allocate

    def unwritten(self, shape: Any, dtype: Any) -> Any:
        """A tensor of a shape and a dtype of PyTorch."""
        with self.active():
            return torch.empty(shape, dtype=dtype, device=f"cuda:{self.device}")

    def namespace(self) -> Any:
        return torch

    def cast(self, array: Any, dtype: Any, copy: bool) -> Any:
        return array.detach().to(_dtype(dtype), copy=copy)

    def contiguous(self, array: Any) -> Any:
        return array.contiguous()

    def host(self, array: Any) -> NDArray[Any]:
        values = array.detach().cpu()
        return np.asarray((values.float() if is_bfloat16(values) else values).numpy())

    def put(self, array: NDArray[Any]) -> Any:
        return torch.as_tensor(np.ascontiguousarray(array), device=f"cuda:{self.device}")

    def empty(self, shape: tuple[int, int], dtype: Any) -> Any:
        return self.unwritten(shape, _dtype(dtype))

    def csr(self, begin: Any, column: Any, value: Any, shape: tuple[int, int]) -> Any:
        index = (begin.astype(np.int64), column.astype(np.int64))
        parts = [self.put(v) for v in (*index, value)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # PyTorch calls its CSR support a beta
            return torch.sparse_csr_tensor(*parts, size=shape)

    def dense(self, csr: Any) -> Any:
        return csr.to_dense()


def _dtype(dtype: Any) -> Any:
    """A NumPy dtype as PyTorch's."""
    return getattr(torch, np.dtype(dtype).name)


def place_of(tensor: Any) -> Torch:
    """Where a tensor lives."""
    return Torch(int(tensor.device.index))
