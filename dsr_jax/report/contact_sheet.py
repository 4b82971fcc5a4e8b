"""A contact sheet: pictures in strips, strips on cards, cards in sections, so that wrong data are seen at a glance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dsr_jax.evaluation.partial_crops import Box
from dsr_jax.report import assets


@dataclass(frozen=True)
class Shot:
    """One picture."""

    image: NDArray[np.uint8]  # (H, W, 3) uint8
    spoken: str  # description for screen readers
    caption: str = ""  # text under it
    box: Box | None = None  # a part of it to outline
    tall: float = 1.0  # its height as a share of the strip's, so that a part is shown at the scale of the whole


@dataclass(frozen=True)
class Strip:
    """Pictures side by side under a label, such as those of one camera."""

    label: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Card:
    """Strips that belong together, such as those of one person; `right` marks pairs of one person, and of two."""

    title: str
    strips: tuple[Strip, ...]
    note: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Section:
    """Cards under a heading, with a sentence on what to look for; `narrow` ones stand several in a row."""

    heading: str
    text: str
    cards: tuple[Card, ...]
    narrow: bool = False


def context(section: Section, files: assets.Files) -> dict[str, object]:
    """A section as the template reads it; its pictures are added to the files.

    Raises:
      ValueError: if a picture is not (H, W, 3) uint8, or a box is not inside its picture.
    """
    cards = [
        {"card": card, "strips": [(strip.label, [_shot(shot, files) for shot in strip.shots]) for strip in card.strips]}
        for card in section.cards
    ]
    return {"section": section, "cards": cards}


def _shot(shot: Shot, files: assets.Files) -> dict[str, object]:
    picture = assets.picture(files, shot.image)
    height, width = shot.image.shape[:2]
    return {"shot": shot, "picture": picture, "ratio": width / height, "box": _shares(shot.box, height, width)}


def _shares(box: Box | None, height: int, width: int) -> dict[str, float] | None:
    """Place and size of a box as per cents of its picture."""
    if box is None:
        return None
    if box.top < 0 or box.left < 0 or box.top + box.height > height or box.left + box.width > width:
        raise ValueError(f"box {box} is not inside its picture of {height} x {width} pixels.")
    shares = {"top": box.top / height, "left": box.left / width, "height": box.height / height}
    return {name: round(100 * share, 2) for name, share in (shares | {"width": box.width / width}).items()}
