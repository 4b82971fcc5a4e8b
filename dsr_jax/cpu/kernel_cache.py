"""Compilation of the kernels, and the cache of their machine code.

Numba keeps the code of a function until the file of that function changes, and does not look at the files of what it
calls: with kernels in several files, an edit or an update of one would leave old code in the others. So the code lies
in a folder named after the contents of all of them.

Compiling takes a while, the first time that an installation matches anything: a line on standard error announces it.
"""

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numba
import numpy as np
from numba.core import event
from tqdm import tqdm

from dsr_jax.formats import atomic
from dsr_jax.parallel import hosts

FOLDER = Path(__file__).parent
KERNELS = "**/_*_kernel.py"  # of the whole library
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
        cache = _cache(given)
        _notice(cache).kernels.add(function)
        numba.config.CACHE_DIR = str(cache.folder)
        try:
            return numba.njit(nogil=threads, **options)(function)
        finally:
            numba.config.CACHE_DIR = given

    return decorate


def flat(array: np.ndarray) -> np.ndarray:
    """Read-only 1-D view, or copy: JAX's arrays are read-only, and kernels are compiled for one type."""
    row = np.ascontiguousarray(array).reshape(-1).view()
    row.flags.writeable = False
    return row


class Cache(NamedTuple):
    """The cache folder."""

    folder: Path  # of this version's code
    # Why other folders could not be used, where the next process will not find this one; else empty.
    refused: tuple[str, ...] = ()


@functools.cache
def _cache(given: str) -> Cache:
    """The folder of this version's code: in NUMBA_CACHE_DIR, else beside the kernels, the user's, a new one."""
    digest = hashlib.sha256()
    for path in [Path(__file__), *sorted(FOLDER.parent.glob(KERNELS))]:
        digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:16]}"
    user = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    refused = []
    for parent in [Path(given)] if given else [FOLDER / "__pycache__", Path(user) / "dsr_jax"]:
        try:
            (parent / name).mkdir(parents=True, exist_ok=True)
            atomic.check_folder(parent / name)
        except OSError as error:
            refused.append(f"{parent} ({os.strerror(error.errno) if error.errno else error})")
            continue
        return Cache(parent / name)
    return Cache(Path(tempfile.mkdtemp(prefix="dsr_jax-")), tuple(refused))


class _Notice(event.Listener):
    """Announces that kernels are about to be compiled, at the first that is not in the cache."""

    def __init__(self, cache: Cache) -> None:
        self.kernels: set[Callable[..., Any]] = set()
        self._cache, self._announced = cache, False

    def on_start(self, event: event.Event) -> None:
        """At each compilation; Numba loads cached code without this event."""
        is_kernel = getattr(event.data["dispatcher"], "py_func", None) in self.kernels
        speaks = not jax.distributed.is_initialized() or hosts.first()
        if is_kernel and speaks and not self._announced and sys.stderr is not None:
            tqdm.write(_announcement(self._cache), file=sys.stderr)
        self._announced = self._announced or is_kernel

    def on_end(self, event: event.Event) -> None:
        """Nothing to do."""


@functools.cache
def _notice(cache: Cache) -> _Notice:
    notice = _Notice(cache)
    event.register("numba:compile", notice)
    return notice


def _announcement(cache: Cache) -> str:
    if not cache.refused:
        return (
            "dsr_jax: compiling for this processor, once, which may take half a minute; the machine code is kept in "
            f"{cache.folder}"
        )
    return (
        "dsr_jax: compiling for this processor, which may take half a minute, and again at every start: the machine "
        f"code cannot be kept in {', nor in '.join(cache.refused)}. Set NUMBA_CACHE_DIR to a folder that can be written"
    )
