"""Memory and open files, where they run out: every library says so in an error of its own; here it is said in words."""

import errno
import re

from ubt.core.errors import UbtError

try:
    import resource
except ImportError:  # not on Windows
    resource = None

LEAST_FILES = 64
"""Files that a process may have open at once, at least: a run has 20, a set in many shards more."""
_FILES = re.compile(r"Too many open files|os error 24\b|Error 24\b", re.IGNORECASE)
_GPU = re.compile(r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED")
_MEMORY = re.compile(
    r"Cannot allocate memory|can't allocate memory|not enough memory|failed to map segment|Unable to allocate|bad_alloc"
    r"|can't start new thread|pthread_create|out of memory|realloc of size|malloc of size|os error 12\b"
    r"|\bMemoryError\b",
    re.IGNORECASE,
)
_PRIMITIVE = re.compile(r"could not (create|initialize|execute) a (primitive|memory|scratchpad)")
"""What oneDNN says of anything; under a limit it is that."""
FILES_RAN_OUT = (
    "expected to be allowed more open files, but there are as many as the limit allows{}; raise it (ulimit -n 1024) and"
    " run again. What was finished is kept"
)
MEMORY_RAN_OUT = (
    "expected more memory, but there is none left{}; close other programs, raise the limit if one is set (ulimit -v),"
    " or use less data, and run again. What was finished is kept"
)
GPU_RAN_OUT = (
    "expected more memory on the GPU, but there is none left; close what else uses it, or choose a smaller batch, and"
    " run again. What was finished is kept"
)


def check() -> None:
    """Raises:
    UbtError: so few files may be open that nothing could be run to its end.
    """
    most = _limit("RLIMIT_NOFILE")
    if most is not None and most < LEAST_FILES:
        raise UbtError(
            f"expected to be allowed at least {LEAST_FILES} open files, got {most}; raise the limit (ulimit -n 1024)"
        )


def ran_out(error: BaseException) -> str:
    """That memory or open files ran out, and what to do about it, if an error, of whichever library, says so; else
    empty.
    """
    number = getattr(error, "errno", None)
    if number in (errno.EMFILE, errno.ENFILE):
        return _said(FILES_RAN_OUT, "RLIMIT_NOFILE", 1, "")
    if number == errno.ENOMEM or isinstance(error, MemoryError):
        return _said(MEMORY_RAN_OUT, "RLIMIT_AS", 1e9, " GB")
    return "" if isinstance(error, (UbtError, ValueError, LookupError, TypeError)) else told(str(error))


def told(text: str) -> str:
    """The same of an error's words, as a log has them."""
    if _FILES.search(text):
        return _said(FILES_RAN_OUT, "RLIMIT_NOFILE", 1, "")
    if _GPU.search(text):
        return GPU_RAN_OUT
    if _MEMORY.search(text) or (_limit("RLIMIT_AS") is not None and _PRIMITIVE.search(text)):
        return _said(MEMORY_RAN_OUT, "RLIMIT_AS", 1e9, " GB")
    return ""


def _said(message: str, of: str, unit: float, name: str) -> str:
    limit = _limit(of)
    return message.format("" if limit is None else f" (the limit is {limit / unit:.3g}{name})")


def _limit(of: str) -> int | None:
    """What this process may have; None where there is no limit."""
    if resource is None:
        return None
    soft = resource.getrlimit(getattr(resource, of))[0]
    return None if soft == resource.RLIM_INFINITY else soft
