"""The compiled modules: the only place that imports them."""

from __future__ import annotations

import importlib.util
from typing import Any

if importlib.util.find_spec("ot_fast._core") is None:
    raise ImportError(
        "ot_fast._core, the compiled core, is missing. In a source checkout install with "
        "`pip install -e .`; elsewhere reinstall with `pip install --force-reinstall ot-fast`."
    )
from . import _core

core = _core

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
        (``OT_FAST_NUM_THREADS``, ``OMP_NUM_THREADS``, then the affinity mask); ``cuda``, why the
        GPU is or is not used; ``arrays``, the array libraries installed and their versions.

    Examples
    --------
    >>> import ot_fast as otf
    >>> otf.info()["isa"] in otf.info()["isa_built"]
    True
    """
    cuda = importlib.util.find_spec("ot_fast._cuda") is not None
    return {
        "version": core.__version__,
        "isa_built": core.isa_built(),
        "isa": core.isa(),
        "threads": core.default_threads(),
        "cuda": {
            "present": cuda,
            "reason": "" if cuda else "this build has no CUDA module (ot_fast._cuda)",
        },
        "arrays": {k: v for k, names in ARRAY_LIBRARIES.items() if (v := _version(names))},
    }
