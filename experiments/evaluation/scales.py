"""The size of probes beside that of whole people: a sure sign, or a doubtful one, that their scale is another.

A gallery picture shows a whole person, so a probe that is larger than gallery pictures are, when they are scaled as it
is, cannot have their scale. One that is much smaller in both directions may show little of a person, or have another
scale. Pictures of whole people differ in size, too: the bounds are the gallery's percentiles, with a margin.
"""

from typing import NamedTuple

import numpy as np

from dsr_jax.evaluation import candidates

PERCENTILES = (5, 50, 95)
LARGER = 1.2  # times the gallery's 95th percentile
SMALLER = 0.6  # times its 5th
FEW = 0.1  # share of the probes above which too large ones are no exception
MANY = 0.5  # the same of small ones, which alone say little


class Sides(NamedTuple):
    """(n, 2) heights and widths, and (n,) cameras, of the images of one side."""

    shapes: np.ndarray
    cameras: np.ndarray


class Compared(NamedTuple):
    """Probes that are larger, or much smaller, than the whole people of the gallery."""

    larger: np.ndarray  # (P,) whether a probe is higher or wider than whole people are
    smaller: np.ndarray  # (P,) whether it is much lower and much narrower
    ratios: np.ndarray  # (P, 2) its height and width relative to the median whole person's

    @property
    def counts(self) -> dict[str, int]:
        """For `metrics.json`."""
        return {"probes_larger": int(self.larger.sum()), "probes_smaller": int(self.smaller.sum())}

    @property
    def too_large(self) -> tuple[float, float] | None:
        """Median ratios, height and width, of the larger probes, where they are more than exceptions."""
        return self._median(self.larger, FEW)

    @property
    def small(self) -> tuple[float, float] | None:
        """The same of small ones."""
        return self._median(self.smaller, MANY)

    def _median(self, chosen: np.ndarray, share: float) -> tuple[float, float] | None:
        if not chosen.any() or chosen.mean() < share:
            return None
        height, width = np.median(self.ratios[chosen], axis=0).tolist()
        return height, width


def compared(probes: Sides, gallery: Sides, *, camera_rule: str, cells: bool = False) -> Compared:
    """The probes beside the gallery images of cameras that may answer them.

    Args:
      cells: whether sizes are counted in cells of a map, of which one more or less is rounding.

    Example:
      >>> gallery = Sides(np.full((5, 2), (128, 64)), np.ones(5, int))
      >>> found = compared(Sides(np.array([(128, 128), (64, 64)]), np.zeros(2, int)), gallery, camera_rule="cross")
      >>> found.larger.tolist(), found.too_large
      ([True, False], (1.0, 2.0))
    """
    count = len(probes.cameras)
    larger, smaller, ratios = np.zeros(count, bool), np.zeros(count, bool), np.ones((count, 2))
    for camera in np.unique(probes.cameras).tolist():
        asking = probes.cameras == camera
        others = ~candidates.hidden(gallery.cameras, camera, camera_rule=camera_rule)
        if not others.any():
            continue
        low, middle, high = np.percentile(gallery.shapes[others], PERCENTILES, axis=0)
        shapes = probes.shapes[asking]
        larger[asking] = (shapes > LARGER * high + cells).any(axis=1)
        smaller[asking] = (shapes < SMALLER * low - cells / 2).all(axis=1)
        ratios[asking] = shapes / middle
    return Compared(larger, smaller, ratios)


def remarks(found: Compared, *, partial: str, probe_scale: str, factor: float) -> list[str]:
    """Sentences to print, which name the flags that bring pictures to the gallery's scale.

    Args:
      factor: by which probes were enlarged in the end.
    """
    lines = []
    if found.too_large:
        fitting = f"--probe_factor={max(0.01, factor / max(found.too_large)):.2g} (or less)"
        if probe_scale == "keep" and found.too_large[1] > 1 and partial == "none":
            fitting = f"--probe_scale=width, or, where their scale is known, {fitting}"
        elif probe_scale == "width":
            fitting = f"--probe_scale=keep, where they have the gallery's scale already, or {fitting}"
        lines.append(_too_large(found, f"give {fitting}"))
    if found.small and partial == "none":
        fitting = "--probe_scale=width" if probe_scale == "keep" else "--probe_factor=1"
        lines.append(_small(found, f"give {fitting}"))
    return lines


def remarks_of_maps(found: Compared) -> list[str]:
    """The same of maps, which another program made."""
    remedy = "bring their pictures to the gallery's scale before the network sees them"
    return [_too_large(found, remedy)] * bool(found.too_large) + [_small(found, remedy)] * bool(found.small)


def _too_large(found: Compared, remedy: str) -> str:
    return (
        f"{found.larger.sum()} of {len(found.larger)} probes are larger than whole people of the gallery, so at "
        f"another scale: {remedy} (median {_ratios(found.too_large)})"
    )


def _small(found: Compared, remedy: str) -> str:
    return (
        f"{found.smaller.sum()} of {len(found.smaller)} probes are small beside whole people of the gallery (median "
        f"{_ratios(found.small)}); if they show more of a person than that, at another scale: {remedy}"
    )


def _ratios(medians: tuple[float, float] | None) -> str:
    height, width = medians or (1.0, 1.0)
    return f"{height:.2f} of their height, {width:.2f} of their width"
