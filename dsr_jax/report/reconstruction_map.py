"""Reconstruction map: how well each part of a probe was rebuilt, and from which parts of a gallery image.

Probe and gallery image stand side by side in one scale, each under a grid of its map's positions. A probe position has
the colour of its rebuilt share, one minus the error of Eq. 4 at that position; for a chosen position of either image
the page marks the positions of the other that share a code (Eq. 6) with it. `match.explain` gives both arrays.

Colours are viridis: its luminance rises along the whole scale, so it can be read without seeing colours.
"""

import math
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from dsr_jax.report import assets

_TALL, _WIDE = 26.0, 22.0  # rem: limits of the taller picture's height, and of both widths together
_DIGITS = 3  # significant ones of a code on the page
_ROUNDING = 1e-3  # by which a rebuilt share may leave [0, 1]
_DARK_INK, _LIGHT_INK = "#000000", "#ffffff"


@dataclass(frozen=True)
class Reconstruction:
    """How one probe was rebuilt from one gallery image."""

    title: str  # heading, such as the names of both pictures
    probe: NDArray[np.uint8]  # (H, W, 3) uint8 picture
    image: NDArray[np.uint8]  # (H, W, 3) uint8 picture of the gallery
    codes: NDArray[np.floating]  # (h, w, h', w') coefficient of every gallery position for every probe position
    # (h, w) share of each probe position that was rebuilt, in [0, 1]; NaN where there was nothing.
    rebuilt: NDArray[np.floating]
    distance: float  # of the two
    # Side, in pixels of the pictures, of the square that a position stands for, counted from the top left; a remainder
    # at the bottom and the right belongs to no position.
    stride: int
    right: bool | None  # whether both show the same person; None: not known
    weights: NDArray[np.floating] | None = None  # (h, w) share of the distance's weights; None: all alike
    # (h, w) and (h', w') which positions of probe and gallery image are not masked; None: all.
    visible: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None

    def masked(self, side: int, i: int, j: int) -> bool:
        """Whether a position of the probe (side 0) or the gallery image (1) is masked."""
        return self.visible is not None and not self.visible[side][i, j]


@dataclass(frozen=True)
class Cell:
    """A position on the page: what it is called, the number in it, its colour and that of the number (empty: none)."""

    label: str
    text: str = ""
    colour: str = ""
    ink: str = ""
    masked: bool = False


def colour(share: float) -> str:
    """The colour of a share in [0, 1], as #rrggbb.

    Example:
      >>> colour(0.0), colour(1.0)
      ('#440154', '#fde725')
    """
    return to_hex(mpl.colormaps["viridis"](share))


def gradient(stops: int = 13) -> str:
    """The whole scale, for a legend, as colours of a CSS gradient.

    Example:
      >>> gradient(2)
      '#440154, #fde725'
    """
    return ", ".join(colour(share) for share in np.linspace(0.0, 1.0, stops).tolist())


def context(entry: Reconstruction, files: assets.Files) -> dict[str, object]:
    """A map as the template reads it; its pictures are added to the files.

    Raises:
      ValueError: if a picture is not (H, W, 3) uint8 or smaller than its positions, the arrays do not fit together,
        a code is not finite, or a share outside [0, 1].
    """
    _check(entry)
    (h, w), (high, wide) = entry.rebuilt.shape, entry.codes.shape[2:]
    more = entry, files
    sides = (
        _side("probe", entry.probe, [[_probe_cell(entry, i, j) for j in range(w)] for i in range(h)], *more),
        _side("gallery", entry.image, [[_image_cell(entry, i, j) for j in range(wide)] for i in range(high)], *more),
    )
    heights, widths = zip(entry.probe.shape[:2], entry.image.shape[:2], strict=True)
    return {
        "entry": entry,
        "sides": sides,
        "masked": entry.visible is not None and not all(side.all() for side in entry.visible),
        "columns": " ".join(f"minmax(0, {width}fr)" for width in widths),
        "width": f"{min(_WIDE, _TALL * sum(widths) / max(heights)):.2f}rem",
        # The page first shows the best rebuilt position.
        "data": {"codes": _codes(entry), "start": int(np.argmax(np.nan_to_num(entry.rebuilt, nan=-1.0)))},
    }


def _check(entry: Reconstruction) -> None:
    where = f"reconstruction {entry.title!r}:"
    if entry.codes.ndim != 4 or entry.codes.shape[:2] != entry.rebuilt.shape or not entry.codes.size:
        raise ValueError(
            f"{where} codes are {entry.codes.shape} and rebuilt {entry.rebuilt.shape}; they must be (h, w, h', w') and "
            "(h, w), as match.explain gives them."
        )
    if entry.stride < 1:
        raise ValueError(f"{where} stride is {entry.stride}; it must be at least one pixel.")
    for name, picture, shape in (
        ("probe", entry.probe, entry.rebuilt.shape),
        ("image", entry.image, entry.codes.shape[2:]),
    ):
        if picture.shape[0] < shape[0] * entry.stride or picture.shape[1] < shape[1] * entry.stride:
            raise ValueError(
                f"{where} {name} has {picture.shape[:2]} pixels and {shape} positions of stride {entry.stride}, which "
                "do not fit into it; pass the picture that the network saw, and its output stride."
            )
    shapes = entry.rebuilt.shape, entry.codes.shape[2:]
    if entry.visible is not None and tuple(side.shape for side in entry.visible) != shapes:
        raise ValueError(f"{where} visible must be of shapes {shapes}, got {[side.shape for side in entry.visible]}.")
    if entry.weights is not None and entry.weights.shape != shapes[0]:
        raise ValueError(f"{where} weights must be {shapes[0]}, got {entry.weights.shape}.")
    if not np.all(np.isfinite(entry.codes)):
        raise ValueError(f"{where} codes must be finite.")
    if np.any(entry.rebuilt < -_ROUNDING) or np.any(entry.rebuilt > 1 + _ROUNDING):
        raise ValueError(f"{where} rebuilt shares must be in [0, 1] or NaN, got {entry.rebuilt.tolist()}.")


def _side(
    name: str, picture: NDArray[np.uint8], cells: list[list[Cell]], entry: Reconstruction, files: assets.Files
) -> dict[str, object]:
    """One of the two pictures, with the grid over that part of it which its positions cover."""
    height, width = picture.shape[:2]
    return {
        "name": name,
        "picture": assets.picture(files, picture),
        "ratio": f"{width} / {height}",
        "width": f"{100 * len(cells[0]) * entry.stride / width:.4f}%",
        "height": f"{100 * len(cells) * entry.stride / height:.4f}%",
        "rows": cells,
    }


def _name(i: int, j: int) -> str:
    return f"row {i + 1}, column {j + 1}"


def _image_cell(entry: Reconstruction, i: int, j: int) -> Cell:
    return _masked(i, j) if entry.masked(1, i, j) else Cell(_name(i, j))


def _masked(i: int, j: int) -> Cell:
    return Cell(f"{_name(i, j)}: masked", masked=True)


def _probe_cell(entry: Reconstruction, i: int, j: int) -> Cell:
    if entry.masked(0, i, j):
        return _masked(i, j)
    share = float(np.clip(entry.rebuilt[i, j], 0.0, 1.0))
    if math.isnan(share):
        return Cell(f"{_name(i, j)}: nothing to rebuild")
    text = f"{100 * share:.0f}"
    weight = "" if entry.weights is None else f", {100 * entry.weights[i, j]:.1f} % of the weights"
    return Cell(f"{_name(i, j)}: {text} % rebuilt{weight}", text, colour(share), _ink(colour(share)))


def _ink(background: str) -> str:
    """The more readable of both inks on a colour."""
    own, dark, light = (luminance(name) + 0.05 for name in (background, _DARK_INK, _LIGHT_INK))
    return _DARK_INK if own / dark >= light / own else _LIGHT_INK


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, in [0, 1], as WCAG 2 defines it.

    Example:
      >>> luminance("#ffffff"), luminance("#000000")
      (1.0, 0.0)
    """
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def _codes(entry: Reconstruction) -> list[tuple[int, int, float]]:
    """(probe position, gallery position, code) of every code that is not zero; the largest first for each position."""
    codes = entry.codes.reshape(entry.rebuilt.size, -1)
    found = [(int(i), int(j), float(f"{codes[i, j]:.{_DIGITS}g}")) for i, j in np.argwhere(codes != 0)]
    return sorted(found, key=lambda code: (code[0], -abs(code[2]), code[1]))
