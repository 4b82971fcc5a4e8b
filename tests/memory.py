"""Release of compiled programs between tests: hundreds of them would fill a test process with gigabytes."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

import jax

GROWTH = 3 << 27  # bytes, 384 MiB, that a process may have grown by since the last release
_STATUS = Path("/proc/self/statm")  # in pages: all memory, then what is resident
_released = 0  # bytes after the last release; none yet, so the first test is followed by one


def release() -> None:
    """Drops JAX's compiled programs and returns free memory to the system.

    A test that needs a program again loads it from the cache on disk.
    """
    global _released
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)  # glibc keeps what was freed until it is asked
    _released = _resident()


def release_if_grown() -> None:
    """Releases in a process that has grown; where the system does not tell its size, nothing is done."""
    if _resident() > _released + GROWTH:
        release()


def _resident() -> int:
    return int(_STATUS.read_text().split()[1]) * resource.getpagesize() if _STATUS.exists() else 0
