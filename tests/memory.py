"""Release of compiled programs between tests: hundreds of them would fill a test process with gigabytes."""

import ctypes
import gc
import sys
from pathlib import Path

import jax

LIMIT = 1 << 30  # bytes of a process, above which it is not left to the end of its module
STATUS = Path("/proc/self/statm")  # pages: in all, then in memory
PAGE = 4096


def release(above: int = 0) -> None:
    """Drops JAX's compiled programs and returns free memory to the system.

    A test that needs a program again loads it from the cache on disk.

    Args:
      above: bytes; a smaller process is left alone, and so is every one where the system does not tell its size.
    """
    if above and (not STATUS.exists() or int(STATUS.read_text().split()[1]) * PAGE <= above):
        return
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)  # glibc keeps what was freed until it is asked
