"""UBT Inspector: see whether a backdoor separates in a CLIP model, find what carries it, unlearn it."""

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""What OpenMP's threads are told before torch, FAISS, scikit-learn or numba loads it: to sleep while they wait.
Threads that spin at a barrier keep a core from whoever they wait for: beside one other process two cores then encode
a twentieth of what they do alone.
"""

for _name, _value in THREADS.items():
    os.environ.setdefault(_name, _value)


_FOUND = {"open_case": "ubt.workflows.open_case", "gate": "ubt.workflows.gate"}


def __getattr__(name: str) -> Any:
    """`open_case` and `gate`, which are imported when they are asked for: importing the package alone imports no
    library.
    """
    if name in _FOUND:
        return getattr(import_module(_FOUND[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_FOUND]
