"""Methods of a comparison, by name: DSR and its variants, and the rivals of Sec. 4.1.

resizing        whole last layer of images brought to one size, Euclidean; several shots: their average
global_average  pooled features of every image's own map, which keeps its shape, Euclidean; several shots: their average
swm             sliding window matching; several shots: the nearest window
amc             ambiguity-sensitive matching by patches; several shots: all their patches
amc_swm         0.7 AMC + 0.3 SWM
dsr_single      DSR with 1 x 1 blocks
dsr_double      with 1 x 1 and 2 x 2 blocks
dsr_multi       with 1 x 1, 2 x 2 and 3 x 3 blocks
maxsim_single   MaxSim with 1 x 1 blocks: the largest cosine of every probe block, no codes
maxsim_double   with 1 x 1 and 2 x 2 blocks
maxsim_multi    with 1 x 1, 2 x 2 and 3 x 3 blocks
dsr_multi_weighted, maxsim_multi_weighted, ...  each of these six once more with weights of the probe's blocks: their
                squared feature norm, or what a file of maps has in its place
joint_single    one dictionary of all entries, 1 x 1 blocks, not boosted
joint_authors   the authors' released code: joint, boosted by 1.2, gallery blocks of 4 scales by maxima
ridge_single    the later ports: ridge regression, 1 x 1 blocks
ridge_multi     the same with three scales
own_vector      the network's own vectors, of OSNet or of a file of maps that has them, probes at the size at which they
                are matched: cosine; several shots: the nearest, with --multi_shot=mean their mean
own_vector_resized  the same with probes stretched to the network's size, as such networks are mostly run
a+b, a+b+c      fusion of any of these: the mean of their distances, each standardised per probe over the gallery; all
                weigh the same, no weight is tuned: dsr_multi+own_vector, dsr_multi+maxsim_multi+own_vector
a_standardised  one of these alone, standardised in the same way: its ranks are those of a, its error rates say how far
                an entry stands out from the gallery, as those of a fusion do
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from dsr_jax import calibration, map_file, match, shortlist
from dsr_jax.baselines import amc, fusion, global_average, resizing
from dsr_jax.evaluation import reranking
from dsr_jax.matching import joint as joint_coding
from dsr_jax.matching import streaming, visibility
from dsr_jax.solvers import table
from experiments.evaluation.features import Given, Sides

SCALES = {"single": (1,), "double": (1, 2), "multi": (1, 2, 3)}
DSR = tuple(f"dsr_{name}{weighted}" for weighted in ("", "_weighted") for name in SCALES)
STRETCHED = ("amc_swm",)  # distances of one probe on a scale of its own
OF_PICTURES = ("resizing", "swm", "amc", "own_vector_resized")  # they stretch, cut or look again at the pictures
OF_VECTORS = ("own_vector", "own_vector_resized")
MULTI_SHOT = ("stack", "minimum", "mean")
STANDARDISED = "_standardised"  # after a method's name: its distances, standardised as in a fusion
JOINT_BYTES = 1 << 32  # one dictionary of hundreds of people at four scales takes more than the usual half gigabyte
# Probes (by number) and entries (tuples of gallery image numbers) to distances (P, entries).
Compare = Callable[[Sides, np.ndarray, Sequence[Sequence[int]]], np.ndarray]
# The same, how many entries of each probe to code, the coarse distance that chooses them, and which may answer it
# (P, entries), to `Shortlist.extended`.
Listed = Callable[[Sides, np.ndarray, Sequence[Sequence[int]], int, str, np.ndarray], np.ndarray]


class Options(NamedTuple):
    """How DSR codes: coder, weight of the penalty, what becomes of several shots, and whether bars show it."""

    coder: str = "auto"
    l1: float = 0.4
    multi_shot: str = "stack"
    progress: bool = False


@dataclass(frozen=True)
class Method:
    """A way to compare probes with entries."""

    compare: Compare  # see `Compare`
    together: bool = False  # whether an entry's distance depends on which other entries there are
    name: str = ""  # its name in `METHODS`, or those of a fusion with + between
    # The scales of blocks coded by one lasso per image, for the picture of what was rebuilt; else empty.
    scales: tuple[int, ...] = ()
    maps: bool = False  # whether it compares the maps of two images and nothing else
    parts: tuple["Method", ...] = ()  # the methods whose distances are all that it looks at; else empty
    fuse: Callable[..., np.ndarray] | None = None  # the parts' distances, (P, entries) each, to its own
    # As ``compare``, but codes only the first entries by a coarse distance among those that may answer: see `Listed`.
    # None where there is no such way.
    listed: Listed | None = None
    weighted: bool = False  # whether the probe's blocks are weighted
    dictionary: tuple[int, ...] = ()  # the scales of a gallery's blocks that are one dictionary, held whole; else empty
    shortlist: int = 0  # how many ``listed`` is to code for each probe; 0: ``compare`` is to be used
    by: str = "pooled"  # the coarse distance that chooses them, of `shortlist.BY`
    reranked: bool = False  # whether its distances are re-ranked
    distance: Mapping[str, Any] = field(
        default_factory=dict
    )  # arguments of `calibration.settings`; empty: not of blocks

    @property
    def title(self) -> str:
        """Its name in tables and keys: "dsr_multi_top100", "dsr_multi_top100_stripes", "dsr_multi_reranked"."""
        chosen = f"_{self.by}" * (self.by != "pooled")
        return self.name + f"_top{self.shortlist}{chosen}" * bool(self.shortlist) + "_reranked" * self.reranked

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the methods that it is made of, of which a fusion has several."""
        return tuple(name for part in self.parts for name in part.names) or (self.name,)

    def settings(self, **how: Any) -> dict[str, Any]:
        """What decides its distances, by name, for a calibration of them.

        Args:
          **how: what a data set adds: ``images_per_entry`` and ``multi_shot`` of `calibration.settings`, and, for the
            methods that weight blocks, ``probe_weights``, "given" where a file of maps has weights.
        """
        if self.distance:
            own = how if self.weighted else {name: value for name, value in how.items() if name != "probe_weights"}
            return calibration.settings(**{**self.distance, **own})
        counted = {name: how[name] for name in ("images_per_entry",) if name in how}
        if counted.get("images_per_entry", 1) > 1:
            counted["multi_shot"] = how.get("multi_shot", "stack")
        parts = {"parts": [part.settings(**how) for part in self.parts]} if self.parts else {}
        return {"distance": self.title} | parts | counted


def known(name: str) -> bool:
    """Whether there is a method of that name: of `METHODS` one, one standardised, or several with + between.

    Example:
      >>> [known(name) for name in ("dsr_multi", "dsr_multi_standardised", "dsr_multi+maxsim_multi", "dsr_multi+")]
      [True, True, True, False]
    """
    terms = _terms(name)
    return METHODS.keys() >= set(terms) and len(set(terms)) == len(terms)


def named(name: str, options: Options) -> Method:
    """The method of that name, see `known`."""
    method = METHODS[name](options) if name in METHODS else fused(_terms(name), fusion.standardised, options)
    return replace(method, name=name)


def _terms(name: str) -> tuple[str, ...]:
    """Names of the methods that a fusion is of; of one that is standardised alone its own."""
    return tuple(name.split("+")) if "+" in name else (name.removesuffix(STANDARDISED),)


def comparing_vectors(chosen: Iterable[Method]) -> list[str]:
    """Names of the methods that compare own vectors of the network, by themselves or in a fusion."""
    return [method.name for method in chosen if {*OF_VECTORS} & {*method.names}]


def single_images(each: Callable[[Sides, np.ndarray, list[int]], np.ndarray], over_shots: Any) -> Compare:
    """A method that compares probes with images, (P, images), and takes a person's as ``over_shots`` (axis=1) says."""

    def compare(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        used = sorted({int(g) for entry in entries for g in entry})
        at = {g: column for column, g in enumerate(used)}
        matrix = each(sides, probes, used)
        return np.stack([over_shots(matrix[:, [at[int(g)] for g in entry]], axis=1) for entry in entries], axis=1)

    return compare


def some(maps: Sequence[np.ndarray], positions: Iterable[Any]) -> Sequence[np.ndarray]:
    """The maps at these positions; those of a file stay unread."""
    return maps.only(positions) if isinstance(maps, map_file.Maps) else [maps[i] for i in positions]


def check_held(gallery: Sequence[np.ndarray], scales: tuple[int, ...]) -> None:
    """Raises ValueError where one dictionary of a file's whole gallery takes more memory than it may; reads no map."""
    if (
        isinstance(gallery, map_file.Maps)
        and (needed := joint_coding.held(gallery.shapes, scales=scales)) > JOINT_BYTES
    ):
        raise ValueError(
            f"methods: one joint dictionary of {len(gallery)} maps of the file takes {needed / 1e9:.1f} GB with the "
            f"maps, more than {JOINT_BYTES / 1e9:.1f} GB: leave the joint methods out, or draw fewer images by --shots"
        )


def seen(sides: Sides, probes: Iterable[Any], images: Sequence[int], *, weighted: bool) -> dict[str, Any]:
    """Masks and weights of these probes and gallery images, as `match.distances` takes them."""
    own, others = sides.masks
    weights: Any = None
    if weighted:
        weights = "norm" if sides.weights[0] is None else visibility.some(sides.weights[0], probes)
    return {
        "probe_weights": weights,
        "probe_masks": visibility.some(own, probes),
        "gallery_masks": visibility.some(others, images),
    }


def dsr(scales: tuple[int, ...], options: Options, *, weighted: bool = False, **how: Any) -> Method:
    """DSR, or another distance of maps, with blocks of these scales; ``how`` goes to `match.distances`."""
    arguments: dict[str, Any] = {"l1": options.l1, "coder": options.coder, "progress": options.progress} | how

    def stacked(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        images = [g for entry in entries for g in entry]
        gallery = some(sides.gallery, images)
        if together:
            check_held(gallery, scales)
        return (match.distances if together or not isinstance(gallery, map_file.Maps) else streaming.distances)(
            some(sides.probe, probes),
            gallery,
            identities=[number for number, entry in enumerate(entries) for _ in entry],
            scales=scales,
            **seen(sides, probes, images, weighted=weighted),
            **arguments,
        ).distance

    def listed(
        sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]], k: int, by: str, allowed: np.ndarray
    ) -> np.ndarray:
        images = [g for entry in entries for g in entry]
        return shortlist.distances(
            some(sides.probe, probes),
            some(sides.gallery, images),
            k,
            by=by,
            identities=[number for number, entry in enumerate(entries) for _ in entry],
            allowed=allowed,
            scales=scales,
            **seen(sides, probes, images, weighted=weighted),
            **arguments,
        ).extended

    together = arguments.get("dictionary") == "joint"
    about: dict[str, Any] = {"coder": arguments["coder"], "l1": options.l1, "scales": scales}
    about |= {"probe_weights": "norm" if weighted else "equal"}
    about |= {name: how[name] for name in ("probe_scales", "pooling", "dictionary", "boost") if name in how}
    lasso = arguments["coder"] in ("auto", *table.names("training"))
    drawn = scales if lasso and not together else ()
    if options.multi_shot == "stack" or together:
        one = scales if together else ()
        return Method(
            stacked,
            together=together,
            scales=drawn,
            maps=not together,
            listed=listed if drawn else None,
            dictionary=one,
            weighted=weighted,
            distance=about,
        )
    each = single_images(
        lambda sides, probes, used: stacked(sides, probes, [[g] for g in used]),
        np.min if options.multi_shot == "minimum" else np.mean,
    )
    return Method(
        each,
        together=together,
        scales=drawn,
        maps=True,
        listed=listed if drawn else None,
        weighted=weighted,
        distance=about,
    )


def joint(scales: tuple[int, ...], options: Options, **how: Any) -> Method:
    """DSR over one dictionary of all entries; always exact, always stacked."""
    return dsr(scales, options._replace(coder="auto"), dictionary="joint", max_bytes=JOINT_BYTES, **how)


def _resizing(sides: Sides, probes: np.ndarray, used: list[int]) -> np.ndarray:
    return resizing.distances([sides.resized[p] for p in probes], [sides.gallery[g] for g in used])


def _global_average(sides: Sides, probes: np.ndarray, used: list[int]) -> np.ndarray:
    own, others = visibility.some(sides.masks[0], probes), visibility.some(sides.masks[1], used)
    return global_average.distances(
        iter(visibility.each_hidden(some(sides.probe, probes), own)),
        iter(visibility.each_hidden(some(sides.gallery, used), others)),
    )


def _amc(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
    own, others = sides.patches
    return amc.distances(
        [own[p] for p in probes],
        [others[g] for entry in entries for g in entry],
        identities=[number for number, entry in enumerate(entries) for _ in entry],
    )


def _own_vector(vectors: Callable[[Sides], tuple[np.ndarray, np.ndarray]], options: Options) -> Method:
    def each(sides: Sides, probes: np.ndarray, used: list[int]) -> np.ndarray:
        own, others = vectors(sides)
        x, y = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (own[probes], others[used]))
        return 1 - x @ y.T

    return Method(single_images(each, np.mean if options.multi_shot == "mean" else np.min))


def fused(names: tuple[str, ...], fuse: Callable[..., np.ndarray], options: Options) -> Method:
    """A method that looks at the distances of others only."""
    parts = tuple(named(name, options) for name in names)

    def compare(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        return fuse(*(part.compare(sides, probes, entries) for part in parts))

    return Method(compare, together=True, parts=parts, fuse=fuse, maps=all(part.maps for part in parts))


def reranked(method: Method, *, k1: int, k2: int, weight: float) -> Method:
    """A method's distances after k-reciprocal re-ranking, which also asks it for those within probes and gallery."""

    def compare(sides: Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        if any(len(entry) > 1 for entry in entries):
            raise ValueError("rerank compares gallery images among themselves: use --shots=whole or --shots=1 with it")
        images = [entry[0] for entry in entries]
        own, others = (
            Given(maps, maps, masks=(masks, masks), weights=(weights, weights))
            for maps, masks, weights in zip((sides.probe, sides.gallery), sides.masks, sides.weights, strict=True)
        )
        among_probes = method.compare(own, probes, [[p] for p in probes])
        among_gallery = method.compare(others, np.array(images), entries)
        between = method.compare(sides, probes, entries)
        return reranking.k_reciprocal(between, among_probes, among_gallery, k1=k1, k2=k2, weight=weight)

    return Method(compare, together=True, name=method.name, reranked=True)


def weighted(kind: str, **how: Any) -> dict[str, Callable[[Options], Method]]:
    """The methods of a kind with weights of the probe's blocks, by name; ``how`` goes to `match.distances`."""

    def of(scales: tuple[int, ...]) -> Callable[[Options], Method]:
        return lambda options: dsr(scales, options, weighted=True, **how)

    return {f"{kind}_{name}_weighted": of(scales) for name, scales in SCALES.items()}


METHODS: dict[str, Callable[[Options], Method]] = {
    "resizing": lambda _: Method(single_images(_resizing, np.mean)),
    "global_average": lambda _: Method(single_images(_global_average, np.mean), maps=True),
    "swm": lambda _: Method(single_images(lambda sides, probes, used: sides.windows[probes][:, used], np.min)),
    "amc": lambda _: Method(_amc, together=True),
    "amc_swm": lambda options: fused(("amc", "swm"), fusion.distances, options),
    "dsr_single": lambda options: dsr((1,), options),
    "dsr_double": lambda options: dsr((1, 2), options),
    "dsr_multi": lambda options: dsr((1, 2, 3), options),
    "maxsim_single": lambda options: dsr((1,), options, coder="maxsim"),
    "maxsim_double": lambda options: dsr((1, 2), options, coder="maxsim"),
    "maxsim_multi": lambda options: dsr((1, 2, 3), options, coder="maxsim"),
    **weighted("dsr"),
    **weighted("maxsim", coder="maxsim"),
    "joint_single": lambda options: joint((1,), options),
    "joint_authors": lambda options: joint((1, 2, 3, 4), options, probe_scales=(1,), pooling="max", boost=1.2),
    "ridge_single": lambda options: dsr((1,), options, coder="ridge"),
    "ridge_multi": lambda options: dsr((1, 2, 3), options, coder="ridge"),
    "own_vector": lambda options: _own_vector(lambda sides: sides.vectors, options),
    "own_vector_resized": lambda options: _own_vector(lambda sides: sides.resized_vectors, options),
}
