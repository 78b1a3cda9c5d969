"""The compiled modules: the only place that imports them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import Any

if importlib.util.find_spec("ot_fast._core") is None:
    raise ImportError(
        "ot_fast._core, the compiled core, is missing. In a source checkout install with "
        "`pip install -e .`; elsewhere reinstall with `pip install --force-reinstall ot-fast`."
    )
from . import _core

core = _core


def cuda() -> Any:
    """The CUDA core; TypeError where this build has none or it does not load."""
    try:
        from . import _cuda
    except ImportError as error:
        raise TypeError(
            f"CUDA arrays need the CUDA module of ot_fast: {_cuda_reason(error)}; pass host arrays"
        ) from None
    return _cuda


def _cuda_reason(error: ImportError) -> str:
    if importlib.util.find_spec("ot_fast._cuda") is not None:
        return f"ot_fast._cuda does not load: {error}"
    if os.environ.get("CUDACXX") or shutil.which("nvcc"):
        return (
            "this build has no CUDA module, although nvcc is here; reinstall with "
            "SKBUILD_CMAKE_DEFINE=OT_FAST_CUDA=ON"
        )
    return "this build has no CUDA module; install nvcc >= 12.8 and reinstall"


def _cuda_info() -> dict[str, Any]:
    try:
        from . import _cuda
    except ImportError as error:
        return {"present": False, "devices": [], "reason": _cuda_reason(error)}
    found = _cuda.devices()
    return {
        "present": True,
        "devices": found["names"],
        "architectures": _cuda.architectures,
        "reason": found["reason"],
    }


def core_of(place: Any) -> Any:
    """The core that works where arrays live: the same functions in either."""
    return cuda() if place.cuda else core


ARRAY_LIBRARIES = {
    "numpy": ("numpy",),
    "cupy": ("cupy", "cupy-cuda13x", "cupy-cuda12x", "cupy-cuda11x"),
    "torch": ("torch",),
    "jax": ("jax",),
}


def _version(names: tuple[str, ...]) -> str | None:
    from importlib import metadata

    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def info() -> dict[str, Any]:
    """What this installation has and uses.

    Returns
    -------
    dict
        ``version``; ``isa_built`` and ``isa``, the instruction-set levels compiled in and the one
        chosen (``OT_FAST_ISA`` lowers it); ``threads``, the default number of threads
        (``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then the affinity mask); ``cuda``: whether
        the CUDA module is ``present``, the ``devices`` it sees, and the ``reason`` where it sees
        none; ``arrays``, the array libraries installed and their versions.

    Examples
    --------
    >>> import ot_fast as otf
    >>> otf.info()["isa"] in otf.info()["isa_built"]
    True
    """
    return {
        "version": core.__version__,
        "isa_built": core.isa_built(),
        "isa": core.isa(),
        "threads": core.default_threads(),
        "cuda": _cuda_info(),
        "arrays": {k: v for k, names in ARRAY_LIBRARIES.items() if (v := _version(names))},
    }
