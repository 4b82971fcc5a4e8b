"""Features that the methods of a comparison compare: maps, windows and patches of the same images by one network.

Each kind is computed when a method first asks for it, once.
"""

import copy
import functools
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from data import views
from dsr_jax import extract, fcn, networks
from dsr_jax.baselines import amc, swm
from dsr_jax.extract import Prefix
from experiments.evaluation.pictures import Images, fit_gallery, some

WINDOWS_AT_ONCE = 32  # images of one batch where many are of one size
NONE = np.empty((0, 0), np.float32)
Planes = Sequence[np.ndarray] | None  # an (h, w) array per map


class Network(NamedTuple):
    """A network and how it wants its images; ``prefix`` keeps what its first blocks make of them."""

    params: fcn.Params
    convention: str
    output_stride: int
    size: tuple[int, int]
    dtype: str = "float32"
    prefix: Prefix | None = None

    def maps(self, pictures: Sequence[np.ndarray], *, progress: str = "", **options: Any) -> list[np.ndarray]:
        """The (h, w, d) map of every picture."""
        how: dict[str, Any] = {"convention": self.convention, "output_stride": self.output_stride, "dtype": self.dtype}
        return extract.maps(self.params, pictures, progress=progress, prefix=self.prefix, **how, **options)


class Sides(Protocol):
    """Features that a method may ask for; lists have one entry per probe or gallery image."""

    @property
    def remarks(self) -> Sequence[str]:
        """Remarks on what was computed so far."""

    @property
    def probe(self) -> Sequence[np.ndarray]:
        """Probe maps, each of its own size."""

    @property
    def gallery(self) -> Sequence[np.ndarray]:
        """Gallery maps; empty for images that no trial draws."""

    @property
    def resized(self) -> Sequence[np.ndarray]:
        """Maps of the probes stretched to the gallery's size."""

    @property
    def windows(self) -> np.ndarray:
        """(P, G) distances of sliding window matching; infinite for images that no trial draws."""

    @property
    def patches(self) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
        """Patch vectors (n, D) of probes and gallery images."""

    @property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """(P, e) and (G, e) own vectors of the network, of the images as they are matched."""

    @property
    def resized_vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """The same with the probes stretched to the gallery's size."""

    @property
    def masks(self) -> tuple[Planes, Planes]:
        """Masks of the probe maps and of the gallery's; None where there are none."""

    @property
    def weights(self) -> tuple[Planes, Planes]:
        """How much positions count in the methods that weight blocks, of both sides; None: by their norms."""


class Given(NamedTuple):
    """`Sides` that are there already; those that are not are empty."""

    probe: Sequence[np.ndarray]
    gallery: Sequence[np.ndarray]
    resized: Sequence[np.ndarray] = ()
    windows: np.ndarray = NONE
    patches: tuple[Sequence[np.ndarray], Sequence[np.ndarray]] = ((), ())
    remarks: Sequence[str] = ()
    vectors: tuple[np.ndarray, np.ndarray] = (NONE, NONE)
    masks: tuple[Planes, Planes] = (None, None)
    weights: tuple[Planes, Planes] = (None, None)
    resized_vectors: tuple[np.ndarray, np.ndarray] = (NONE, NONE)


class Features:
    """The `Sides` of some probes and gallery images by one network.

    Args:
      drawn: the gallery images that some trial draws; the others are not looked at.
      window_stride: pixels from window to window, for `swm`; 0: one output cell.

    Raises:
      ValueError: if a picture is smaller than one output cell, or a map holds NaN or infinity; it names the pictures.
    """

    weights: tuple[Planes, Planes] = (None, None)
    _first: "Features | None" = None  # whose gallery it is

    def __init__(
        self,
        network: Network,
        probes: Images,
        gallery: Images,
        drawn: Sequence[int],
        *,
        window_stride: int = 0,
        progress: bool = False,
    ):
        self._network, self._progress, self._stride = network, progress, window_stride
        self.remarks: list[str] = []  # of the maps that were made
        self._probes, self._drawn, self._count = probes, sorted(set(drawn)), len(gallery.names)
        self._searched = gallery.only(np.isin(np.arange(self._count), self._drawn))
        for what, images in (("probe", probes), ("gallery", self._searched)):
            _check_large_enough(what, images, network.output_stride)

    def with_probes(self, probes: Images) -> "Features":
        """Other probes against the same gallery, whose maps are made once for both."""
        other = copy.copy(self)
        other._first = self._first or self
        for name in ("probe", "resized", "windows", "patches", "vectors", "resized_vectors", "masks"):
            other.__dict__.pop(name, None)
        other._probes = probes
        _check_large_enough("probe", probes, self._network.output_stride)
        return other

    @functools.cached_property
    def probe(self) -> list[np.ndarray]:
        """See `Sides`."""
        maps = self._maps(self._probes, "probe")
        self.remarks = hidden(maps, self._probes.names)
        return maps

    @functools.cached_property
    def gallery(self) -> list[np.ndarray]:
        """See `Sides`."""
        if self._first is not None:
            return self._first.gallery
        return self._spread(self._maps(self._searched, "gallery"))

    @functools.cached_property
    def resized(self) -> list[np.ndarray]:
        """See `Sides`."""
        return self._maps(fit_gallery(self._probes, self._network.size), "resized probe")

    @functools.cached_property
    def masks(self) -> tuple[Planes, Planes]:
        """See `Sides`: positions at least half of whose share of the picture is shown."""
        shown = self._probes.shown
        if shown is None:
            return None, None
        return [visible(mask, values.shape) for mask, values in zip(shown, self.probe, strict=True)], None

    @functools.cached_property
    def windows(self) -> np.ndarray:
        """See `Sides`."""
        fitting, too_large = self._fitted()
        maps = list(self.probe)
        for p, values in zip(too_large, self._maps(fitting, "scaled probe"), strict=True):
            maps[p] = values
        found = np.full((len(maps), self._count), np.inf, np.float32)
        found[:, self._drawn] = swm.distances(
            functools.partial(self._network.maps, batch_size=WINDOWS_AT_ONCE),
            maps,
            self._searched.pictures,
            output_stride=self._network.output_stride,
            stride=self._stride or None,
            progress="windows of gallery images" if self._progress else "",
        )
        return found

    @functools.cached_property
    def patches(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """See `Sides`."""
        return self._patches(self._probes, "probe"), self._spread(self._patches(self._searched, "gallery"))

    @functools.cached_property
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Sides`; zero for gallery images that no trial draws."""
        searched = self._vectors([self.gallery[g] for g in self._drawn], self._searched)
        gallery = np.zeros((self._count, searched.shape[1]), np.float32)
        gallery[self._drawn] = searched
        return self._vectors(self.probe, self._probes), gallery

    @functools.cached_property
    def resized_vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """See `Sides`."""
        return self._vectors(self.resized, self._probes), self.vectors[1]

    def _vectors(self, maps: Sequence[np.ndarray], images: Images) -> np.ndarray:
        """Own vectors (n, e) of the images' maps."""
        vectors = networks.vectors(self._network.params, maps)
        zero = [name for name, vector in zip(images.names, vectors, strict=True) if not vector.any()]
        if zero:
            raise ValueError(f"the network's own vectors of {some(zero)} are zero: leave --methods=own_vector out")
        return vectors

    def _fitted(self) -> tuple[Images, list[int]]:
        """The probes larger than the gallery's size, brought down to it in their own shape, and their numbers."""
        height, width = self._network.size
        too_large = larger(self._probes, self._network.size)
        images = self._probes.only(np.isin(np.arange(len(self._probes.names)), too_large))
        fitted = []
        for picture in images.pictures:
            factor = min(height / picture.shape[0], width / picture.shape[1])
            size = tuple(max(self._network.output_stride, int(side * factor)) for side in picture.shape[:2])
            fitted.append(views.resize(picture, (size[0], size[1])))
        return images._replace(pictures=fitted, shown=None), too_large

    def _patches(self, images: Images, what: str) -> list[np.ndarray]:
        cut = [amc.patches(picture, output_stride=self._network.output_stride) for picture in images.pictures]
        flat = [patch for patches in cut for patch in patches]
        names = [name for name, patches in zip(images.names, cut, strict=True) for _ in patches]
        vectors = amc.vectors(self._maps(Images(flat, *images[1:3], names), f"{what} patch", WINDOWS_AT_ONCE))
        return np.split(vectors, np.cumsum([len(patches) for patches in cut])[:-1])

    def _maps(self, images: Images, what: str, batch_size: int = 8) -> list[np.ndarray]:
        bar = f"{what} maps" if self._progress else ""
        maps = self._network.maps(images.pictures, progress=bar, batch_size=batch_size)
        bad = [name for name, values in zip(images.names, maps, strict=True) if not np.isfinite(values).all()]
        if bad:
            raise ValueError(
                f"the maps of {some(bad)} ({what}) hold NaN or infinity: the weights or their scale are wrong"
            )
        return maps

    def _spread(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The values of the drawn gallery images at their places; empty arrays elsewhere."""
        places = [np.empty(0, np.float32)] * self._count
        for i, value in zip(self._drawn, values, strict=True):
            places[i] = value
        return places


def hidden(maps: Iterable[np.ndarray], names: Sequence[str]) -> list[str]:
    """A remark on probes with positions that are zero, which DSR leaves out of its mean.

    Raises:
      ValueError: naming probes that are zero everywhere.
    """
    shares = np.array([np.mean(~np.any(values, axis=2)) for values in maps])
    blind = [name for name, share in zip(names, shares, strict=True) if share == 1]
    if blind:
        raise ValueError(
            f"the maps of {len(blind)} probes are zero everywhere, there is nothing to compare: {some(blind)}; leave "
            "them out, or look at their masks, their pictures or the network"
        )
    count = int(np.count_nonzero(shares))
    return [
        f"{count} of {len(shares)} probes have positions that are zero (masked, or dead in the network), of "
        f"{names[int(np.argmax(shares))]} {100 * np.max(shares):.0f} %: DSR leaves them out of its mean"
    ][:count]


def visible(shown: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The positions (h, w) of a map of that ``shape`` at least half of whose share of the picture is shown.

    Example:
      >>> visible(np.array([[True, True, True, False, False, False]]), (1, 2, 8)).tolist()
      [[True, False]]
    """
    rows, columns = (
        np.linspace(0, side, count + 1).round().astype(int) for side, count in zip(shown.shape, shape[:2], strict=True)
    )
    cells = [
        [shown[top:bottom, left:right].mean() for left, right in itertools.pairwise(columns)]
        for top, bottom in itertools.pairwise(rows)
    ]
    return np.array(cells) >= 0.5


def larger(probes: Images, size: tuple[int, int]) -> list[int]:
    """The probes that are larger than a gallery image, which sliding window matching scales to fit."""
    return [
        p for p, (h, w) in enumerate(picture.shape[:2] for picture in probes.pictures) if h > size[0] or w > size[1]
    ]


def _check_large_enough(what: str, images: Images, stride: int) -> None:
    small = [
        f"{name} of {picture.shape[0]} x {picture.shape[1]}"
        for name, picture in zip(images.names, images.pictures, strict=True)
        if min(picture.shape[:2]) < stride
    ]
    if small:
        raise ValueError(
            f"{len(small)} {what} pictures, as they are matched, are smaller than one output cell: {some(small)}; the "
            f"smallest legal size is {stride} x {stride}: enlarge --size, use --output_stride=16, or leave them out"
        )
