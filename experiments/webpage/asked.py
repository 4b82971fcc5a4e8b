"""What a request asks for, read from its query: a part of the picture, filters, labels of a new entry."""

import base64
import binascii
import hashlib
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from experiments.searching import probes
from experiments.webpage.refusal import Refused

MOST = 100  # places of an answer
SIDE = 256  # rows and columns of a painted mask
LETTERS = 200  # of a name or an identity
HALF = 0.5  # of a position must be painted
LATEST = 6e10  # seconds from 1970, both ways: what calendars can show


class Part(NamedTuple):
    """A part of a picture: a box (left, top, width, height) and what is painted in it; None: all."""

    box: tuple[int, int, int, int] | None
    painted: np.ndarray | None

    def cut(self, picture: np.ndarray) -> np.ndarray:
        """The box of a picture.

        Raises:
          Refused: if it is not inside.
        """
        try:
            return picture if self.box is None else probes.cut(picture, self.box)
        except ValueError:
            height, width = picture.shape[:2]
            raise Refused(
                400, f"The box is not inside the picture of {width} x {height} pixels: draw it within the picture."
            ) from None

    def mask(self, size: tuple[int, int], shape: tuple[int, int], stride: int) -> np.ndarray | None:
        """Which positions of a map are painted, for the most part; None where nothing was painted.

        Args:
          size: height and width of the picture that the map is of.
          shape: rows and columns of the map.
          stride: pixels per position.

        Raises:
          Refused: if no position is.

        Example:
          >>> Part(None, np.array([[True], [False]])).mask((64, 32), (4, 2), 16).tolist()
          [[True, True], [True, True], [False, False], [False, False]]
        """
        if self.painted is None:
            return None
        pixels = [
            np.minimum((np.arange(cells * stride) * cells_painted // side), cells_painted - 1)
            for cells, side, cells_painted in zip(shape, size, self.painted.shape, strict=True)
        ]
        shown = self.painted[np.ix_(*pixels)].reshape(shape[0], stride, shape[1], stride)
        mask: np.ndarray = shown.mean(axis=(1, 3)) >= HALF
        if not mask.any():
            raise Refused(400, "Too little is painted to compare: paint more of what is visible, or draw a box.")
        return mask

    def digest(self, content: bytes, *more: str) -> str:
        """A digest of this part of a picture, and of what else is said.

        Example:
          >>> Part(None, None).digest(b"picture") == Part((0, 0, 9, 9), None).digest(b"picture")
          False
        """
        found = hashlib.sha256(repr((hashlib.sha256(content).hexdigest(), self.box, *more)).encode())
        found.update(b"" if self.painted is None else self.painted.tobytes())
        return found.hexdigest()


class Filters(NamedTuple):
    """What may answer: cameras, and times in seconds since 1970; None: all."""

    cameras: tuple[int, ...] | None
    after: float | None
    before: float | None


class Labels(NamedTuple):
    """Labels of a new entry."""

    name: str
    identity: str | None
    camera: int
    time: float | None


def part(query: Mapping[str, str]) -> Part:
    """``box=left,top,width,height`` and ``mask=rows,columns,bits``, the bits row by row in base64.

    Raises:
      Refused: for anything else.
    """
    box, painted = None, None
    if text := query.get("box"):
        numbers = _numbers("box", text)
        if len(numbers) != 4:
            raise Refused(400, "box must be left,top,width,height in whole pixels: draw it again.")
        box = numbers[0], numbers[1], numbers[2], numbers[3]
    if text := query.get("mask"):
        try:
            rows, columns, bits = text.split(",")
            shape = int(rows), int(columns)
            values = np.frombuffer(base64.b64decode(bits, validate=True, altchars=b"-_"), np.uint8)
            if not (1 <= min(shape) and max(shape) <= SIDE and len(values) == math.ceil(shape[0] * shape[1] / 8)):
                raise ValueError(shape)
        except (ValueError, binascii.Error):
            raise Refused(400, "mask must be rows,columns,bits: paint it again.") from None
        painted = np.unpackbits(values, count=shape[0] * shape[1]).reshape(shape).astype(bool)
    return Part(box, painted)


def filters(query: Mapping[str, str]) -> Filters:
    """``cameras=0,3``, ``after`` and ``before`` in seconds since 1970.

    Raises:
      Refused: for anything else.
    """
    cameras = _numbers("cameras", query["cameras"]) if query.get("cameras") else None
    return Filters(cameras, _moment(query, "after"), _moment(query, "before"))


def places(query: Mapping[str, str], usual: int) -> int:
    """``k``, how many places an answer has.

    Raises:
      Refused: for no whole number from 1 to `MOST`.
    """
    text = query.get("k") or str(usual)
    if not (re.fullmatch(r"\d{1,3}", text, re.ASCII) and 1 <= int(text) <= MOST):
        raise Refused(400, f"The number of answers must be from 1 to {MOST}.")
    return int(text)


def labels(query: Mapping[str, str], name: str) -> Labels:
    """``name``, ``identity``, ``camera`` and ``time`` of a new entry; all may be empty.

    Args:
      query: the query.
      name: what it is called where nothing is said.

    Raises:
      Refused: for names that are too long or cannot be shown, and a camera or a time that is none.
    """
    texts = {key: query.get(key, "").strip() for key in ("name", "identity", "camera")}
    for key in ("name", "identity"):
        if len(texts[key]) > LETTERS or not texts[key].isprintable():
            raise Refused(400, f"The {key} must have at most {LETTERS} letters that can be shown: write another.")
    if texts["camera"] and not re.fullmatch(r"\d{1,9}", texts["camera"], re.ASCII):
        raise Refused(400, "The camera must be a whole number such as 3, or empty.")
    camera = int(texts["camera"]) if texts["camera"] else -1
    return Labels(texts["name"] or name, texts["identity"] or None, camera, _moment(query, "time"))


def _numbers(key: str, text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"-?\d{1,9}(,-?\d{1,9}){0,999}", text, re.ASCII):
        raise Refused(400, f"{key} must be whole numbers with commas between, such as 0,3.")
    return tuple(int(number) for number in text.split(","))


def _moment(query: Mapping[str, str], key: str) -> float | None:
    text = query.get(key, "")
    try:
        found = float(text) if text else None
        if found is None or abs(found) < LATEST:
            return found
    except ValueError:
        pass
    raise Refused(400, f"{key} must be a time in seconds since 1970: choose it again.")
