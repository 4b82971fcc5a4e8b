"""Frames: the whole pictures that boxes are cut from, their sizes and EXIF orientations checked against the document.

The document states width and height of every picture. A picture of another size was scaled or turned after it was
annotated, and its boxes are of something else: an error. A file may also have an EXIF orientation. Some programs turn
a picture by it before they show it to an annotator, some do not: where width and height do not tell, the user must, see
`TURNS`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from data.builders.coco import Box
from data.builders.listing import CAUTION
from data.sources.decoding import orientation, upright_size
from data.sources.tree import Tree

TURNS = {
    "ask": "where it cannot be known, that is an error",
    "before": "pictures are turned by their EXIF orientation before boxes are cut, as browsers and OpenCV show them",
    "after": "boxes are cut out of pictures as they are stored, as Pillow and torchvision read them, and turned then",
    "never": "the EXIF orientation is wrong: nothing is turned",
}
OUTSIDE = 0.1  # share of a box's area outside the picture beyond which a remark counts it
_ALIKE = 0.01  # by which the ratios of two scaled sides may differ
_SHOWN = 3

Size = tuple[int, int]  # width, height


class Frame(NamedTuple):
    """A picture's upright size, and its EXIF orientation."""

    upright: Size
    orientation: int

    @property
    def stored(self) -> Size:
        """Its size before it is turned."""
        return self.upright[::-1] if self.orientation >= 5 else self.upright

    def size(self, turn: str) -> Size:
        """Its size when boxes are cut."""
        return self.stored if turn in ("after", "never") else self.upright


def read(tree: Tree, names: Iterable[str]) -> dict[str, Frame]:
    """The frames of these names, from the heads of their files, without those that cannot be read."""
    frames = {}
    for name in dict.fromkeys(names):
        try:
            encoded = tree.read(name)
            height, width = upright_size(encoded)
            frames[name] = Frame((width, height), orientation(encoded))
        except (ValueError, OSError):
            continue  # reported by `checked` and `check`, which decode every box
    return frames


def remarks(boxes: Sequence[Box], frames: dict[str, Frame], turn: str) -> list[str]:
    """Remarks on how boxes and pictures fit.

    Raises:
      ValueError: a picture is not of the size that its document says, or it cannot be known whether boxes are of the
        picture before or after it is turned.
    """
    distinct = list({(box.frame, box.size): box for box in boxes if box.frame in frames}.values())
    _check_sizes(distinct, frames, turn)
    if turn == "ask":
        _check_turns(distinct, frames)
    unsized = {box.frame for box in distinct if None in box.size}
    lines = []
    if unsized:
        lines.append(
            f"The JSON does not say width and height of {len(unsized):,} of {len(frames):,} pictures, such as "
            f"{min(unsized)}: whether they are as they were annotated cannot be checked."
        )
    leaving = [box for box in boxes if box.frame in frames and outside(box, frames[box.frame].size(turn)) > OUTSIDE]
    if leaving:
        some = ", ".join(f"{box.frame}:{box.key}" for box in leaving[:_SHOWN])
        lines.append(
            f"{CAUTION}{len(leaving):,} of {len(boxes):,} boxes leave their picture by more than a tenth of their "
            f"area, such as {some}: if many do, they are of other pictures."
        )
    return lines


def outside(box: Box, size: Size) -> float:
    """The share of a box's area that lies outside its picture."""
    left, top, width, height = box.box
    across = max(0.0, min(left + width, size[0]) - max(left, 0.0))
    down = max(0.0, min(top + height, size[1]) - max(top, 0.0))
    return 1 - across * down / (width * height)


def _check_sizes(boxes: Sequence[Box], frames: dict[str, Frame], turn: str) -> None:
    wrong = []
    for box in boxes:
        frame = frames[box.frame]
        allowed = [frame.upright, frame.stored] if turn == "ask" else [frame.size(turn)]
        if not any(_fits(box.size, size) for size in allowed):
            wrong.append((box, frame.size(turn)))
    if wrong:
        box, size = wrong[0]
        others = [f"{box.frame} is {_drawn(size)} for {_drawn(box.size)}" for box, size in wrong[1:_SHOWN]]
        raise ValueError(
            f"{len(wrong):,} of {len(boxes):,} pictures have another size than their JSON says: {box.frame} is "
            f"{_drawn(size)}, {box.document} says {_drawn(box.size)} ({_reason(box.size, size)}). Boxes would be cut "
            "from the wrong places: give the pictures that were annotated, or correct boxes, width and height"
            + "".join(f"\n  {line}" for line in others)
        )


def _check_turns(boxes: Sequence[Box], frames: dict[str, Frame]) -> None:
    uncertain = []
    for box in boxes:
        frame = frames[box.frame]
        clear = None not in box.size and frame.upright != frame.stored and box.size == frame.upright
        if frame.orientation != 1 and not clear:
            uncertain.append(box)
    if uncertain:
        box, frame = uncertain[0], frames[uncertain[0].frame]
        sizes = f"{_drawn(frame.stored)} as stored and {_drawn(frame.upright)} upright"
        choices = "\n".join(f"  #exif={word}: {text}" for word, text in TURNS.items() if word != "ask")
        raise ValueError(
            f"{len(uncertain):,} of {len(boxes):,} pictures are to be turned by their EXIF orientation, and whether "
            f"boxes are of the turned picture cannot be known: {box.frame} has orientation {frame.orientation}, "
            f"{sizes}, and the JSON says {_drawn(box.size)}. Add one of these to --source\n{choices}"
        )


def _fits(stated: tuple[int | None, int | None], size: Size) -> bool:
    return all(side is None or side == actual for side, actual in zip(stated, size, strict=True))


def _drawn(size: tuple[int | None, int | None]) -> str:
    return " x ".join("?" if side is None else str(side) for side in size)


def _reason(stated: tuple[int | None, int | None], size: Size) -> str:
    """The likely reason why a picture has another size than stated."""
    width, height = stated
    if width is None or height is None:
        return "scaled or cut after it was annotated?"
    if stated == size[::-1]:
        return "turned, by its EXIF orientation or after it was annotated?"
    for actual in (size, size[::-1]):
        ratios = actual[0] / width, actual[1] / height
        if abs(ratios[0] / ratios[1] - 1) <= _ALIKE:
            turned = " and turned" if actual != size else ""
            return f"scaled by {sum(ratios) / 2:.4g}{turned} after it was annotated?"
    return "another picture, or cut, padded or scaled after it was annotated?"


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, 3) pixels as they are stored, made upright."""
    if orientation in (5, 7):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 4):
        pixels = pixels[:, ::-1]
    quarters = {3: 2, 4: 2, 6: -1, 7: 2, 8: 1}.get(orientation, 0)  # counter-clockwise
    return np.rot90(pixels, quarters)


def unturned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, 3) upright pixels as they are stored: the inverse of `turned`."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))  # all others are their own inverse
