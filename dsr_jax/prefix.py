"""What the first blocks of a network make of the same images, kept from one extraction to the next.

While a network's last blocks are trained and the first stay as they are, validation extracts maps of the same images
again and again. Of VGG-16 blocks 1 to 4 are nine tenths of the work: with their outputs kept, only block 5 runs again.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Outputs = tuple[Any, Any]  # of a padded batch: activations and their true sizes


class Prefix:
    """Outputs of blocks 1 to ``blocks`` for the batches of `extract.maps`; give the same one to every call.

    A batch is known by its pixels, and what is kept is forgotten when the parameters of these blocks are others, or are
    run in another way: the maps are those of an extraction without it, to rounding (the two halves of the network are
    compiled by themselves).

    Args:
      blocks: how many of the network's first blocks stay as they are, 1 to 4.
      limit: largest number of bytes that are kept; batches beyond it run as a whole each time.

    Raises:
      ValueError: for an argument out of its range.

    Example:
      >>> import jax, numpy as np
      >>> from dsr_jax import extract, fcn, prefix
      >>> params, images = fcn.init(jax.random.key(0), width=0.03), [np.ones((32, 32, 3), np.uint8)]
      >>> kept = prefix.Prefix(4, limit=1 << 20)
      >>> trained = {**params, "block5_conv3": jax.tree.map(lambda x: 2 * x, params["block5_conv3"])}
      >>> first, then = (extract.maps(p, images, prefix=kept)[0] for p in (params, trained))
      >>> kept.batches, bool(np.allclose(then, 2 * first))
      (1, True)
    """

    def __init__(self, blocks: int, *, limit: int):
        """Nothing is kept yet."""
        if not 1 <= blocks <= 4:
            raise ValueError(f"blocks must be 1 to 4 of the network's five, got {blocks}")
        if limit < 0:
            raise ValueError(f"limit must be at least 0 bytes, got {limit}")
        self.blocks = blocks
        self._limit, self._used = limit, 0
        self._kept: dict[bytes, Outputs] = {}
        self._of: list[Any] = []
        self._how: Any = None

    @property
    def batches(self) -> int:
        """How many batches are kept."""
        return len(self._kept)

    def begin(self, params: dict[str, dict[str, Any]], how: Any) -> None:
        """Says with which parameters, and how, the coming batches are run; what others made of theirs is forgotten."""
        frozen = {name: layer for name, layer in params.items() if int(name[5]) <= self.blocks}
        marks = [_mark(leaf) for leaf in jax.tree.leaves(frozen)]
        same = len(marks) == len(self._of) and all(_equal(a, b) for a, b in zip(marks, self._of, strict=True))
        if not same or how != self._how:
            self._of, self._how, self._kept, self._used = marks, how, {}, 0

    def of(self, images: np.ndarray, sizes: np.ndarray, run: Callable[[], Outputs]) -> Outputs:
        """The outputs for a padded batch, kept or made by ``run``."""
        key = hashlib.sha256(repr(images.shape).encode() + sizes.tobytes() + images.tobytes()).digest()
        if key not in self._kept:
            made = run()
            size = sum(x.nbytes for x in made)
            if self._used + size > self._limit:
                return made
            self._kept[key], self._used = made, self._used + size
        return self._kept[key]


def _mark(leaf: Any) -> Any:
    """What tells parameters from others: JAX's never change and stand for themselves, NumPy's may be written to."""
    return leaf if isinstance(leaf, jax.Array) else hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).digest()


def _equal(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, bytes) and isinstance(b, bytes) and a == b)
