"""Answers that are held for what follows: pictures, reconstruction maps, marks. Those not used longest go first.

An answer is found by a name of 32 random bytes that only its asker got, so that nobody sees the answer of another.
"""

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from dsr_jax.gallery.stored import StoredGallery
from experiments.searching.answers import Hit
from experiments.searching.probes import Seen
from experiments.webpage.refusal import Refused

BYTES = 1 << 27  # of probes that are held


class Held(NamedTuple):
    """An answer.

    Attributes:
      probe: the probe.
      digest: of its picture, box and mask, for marks.
      hits: the places.
      shown: a gallery of their entries, in their order.
      settings: what the distances are of, see `kept.Mark`.
    """

    probe: Seen
    digest: str
    hits: tuple[Hit, ...]
    shown: StoredGallery
    settings: Mapping[str, Any]

    def place(self, rank: int) -> Hit:
        """A place.

        Raises:
          Refused: if there is none of this rank.
        """
        if not 1 <= rank <= len(self.hits):
            raise Refused(404, f"The answer has no place {rank}: search again.")
        return self.hits[rank - 1]


class Answers:
    """The answers that are held, of one event loop."""

    def __init__(self, most: int = BYTES) -> None:
        self._most, self._bytes = most, 0
        self._held: OrderedDict[str, Held] = OrderedDict()

    def keep(self, answer: Held) -> str:
        """Holds an answer; its name."""
        name = secrets.token_urlsafe(32)
        self._held[name] = answer
        self._bytes += _bytes(answer)
        while self._bytes > self._most and len(self._held) > 1:
            self._bytes -= _bytes(self._held.popitem(last=False)[1])
        return name

    def find(self, name: str) -> Held:
        """The answer of a name.

        Raises:
          Refused: if it is not held any more, or never was.
        """
        if name not in self._held:
            raise Refused(410, "This answer is not held any more: search again.")
        self._held.move_to_end(name)
        return self._held[name]


def _bytes(answer: Held) -> int:
    return answer.probe.picture.nbytes + answer.probe.map.nbytes
