"""How the kernels are compiled, and where their machine code is kept between runs.

Numba keeps the code of a function until the file of that function changes, and does not look at the files of what it
calls: with kernels in several files, an edit or an update of one would leave old code in the others. So the code lies
in a folder named after the contents of all of them.
"""

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

FOLDER = Path(__file__).parent
# Numbers are finite (the callers' promise), sums may be regrouped; nothing is allocated.
OPTIONS: dict[str, Any] = {
    "cache": True,
    "forceinline": True,
    "fastmath": {"contract", "reassoc", "nsz", "nnan", "ninf"},
    "error_model": "numpy",
    "_nrt": False,
}


def kernel(*, threads: bool = False, exact: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a compiled function; ``threads``: other threads run while it does; ``exact``: as it is written."""
    options = OPTIONS | {"fastmath": False} if exact else OPTIONS

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        given = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(_cache(given))
        try:
            return numba.njit(nogil=threads, **options)(function)
        finally:
            numba.config.CACHE_DIR = given

    return decorate


def flat(array: np.ndarray) -> np.ndarray:
    """All numbers in a row, not to be written to: arrays of JAX are not, and one type is compiled once."""
    row = np.ascontiguousarray(array).reshape(-1).view()
    row.flags.writeable = False
    return row


@functools.cache
def _cache(given: str) -> Path:
    """The folder of this version's code: in NUMBA_CACHE_DIR, else beside the kernels, the user's, a new one."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted(FOLDER.glob("*_kernel.py"))]:
        digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    own = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    for parent in [Path(given)] if given else [FOLDER / "__pycache__", Path(own) / "dsr_jax"]:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(parent / name, os.W_OK):
            return parent / name
    return Path(tempfile.mkdtemp(prefix="dsr_jax-"))
