"""Few shapes for probes of any size: each is padded to one of some, so that the network is compiled a few times only.

A new shape is compiled when it first comes, which takes seconds; a padded picture has the map that it has alone, but
for rounding. The shapes that most probes have are compiled while the page is open already.
"""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.evaluation.features import Network

SHARES = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8)  # of the sides of a whole picture
USUAL = (0.5, 0.75, 0.25, 1.5, 2)  # heights of probes as wide as a whole picture, the likeliest first


def padded(size: tuple[int, int], whole: tuple[int, int], stride: int) -> tuple[int, int]:
    """The shape that a picture of this size is padded to.

    Args:
      size: height and width.
      whole: those of a whole picture.
      stride: pixels per position of a map, of which the shape has whole ones.

    Example:
      >>> padded((100, 128), (256, 128), 16), padded((256, 60), (256, 128), 16), padded((3000, 128), (256, 128), 16)
      ((128, 128), (256, 64), (3008, 128))
    """
    height, width = (_side(*sides, stride) for sides in zip(size, whole, strict=True))
    return height, width


def _side(side: int, whole: int, stride: int) -> int:
    """The smallest share of the whole side that holds it, rounded up to whole strides."""
    wanted = next((share * whole for share in SHARES if share * whole >= side), side)
    return -(-round(wanted) // stride) * stride


class Padded(Network):
    """A network that sees every picture alone, padded."""

    def maps(self, pictures: Sequence[np.ndarray], *, progress: str = "", **options: Any) -> list[np.ndarray]:
        """The (h, w, d) map of every picture."""
        return [self._map(picture, **options) for picture in pictures]

    def _map(self, picture: np.ndarray, **options: Any) -> np.ndarray:
        height, width = picture.shape[:2]
        room = np.zeros((*padded((height, width), self.size, self.output_stride), 3), np.uint8)
        options |= {"max_buckets": 1, "batch_size": 2}
        return super().maps([picture, room], **options)[0]


class WarmUp:
    """A thread that compiles the usual shapes, one after the other, until it is stopped."""

    def __init__(self, network: Padded) -> None:
        self._network, self._stopped = network, threading.Event()
        self._thread = threading.Thread(target=self._compile, name="warm up")

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends after the shape at work."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _compile(self) -> None:
        height, width = self._network.size
        for share in USUAL:
            if self._stopped.is_set():
                return
            rows = max(self._network.output_stride, round(share * height))
            self._network.maps([np.zeros((rows, width, 3), np.uint8)])
