"""Content of a contact sheet: people of both sides, training pairs and partial probes, drawn by a seed.

The pictures are those that training and evaluation see: pairs and their views come from `training_pairs.draw_pairs` and
`views`, partial probes are cut by `partial_crops.partial_box` as `experiments.evaluate` does under the same seed.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data import views
from data.inspection.statistics import COLUMNS, NOTE, Statistics
from data.source import NOBODY, UNKNOWN_CAMERA, Source
from dsr_jax.evaluation import partial_crops, training_pairs
from dsr_jax.report.contact_sheet import Card, Section, Shot, Strip
from dsr_jax.report.curves import Axes, Curve, Plot
from dsr_jax.report.tables import Row, Table

_MOST = 60  # places of a curve
_MARKS = 8  # of them with a tick


class Amount(NamedTuple):
    """Amount that is shown: people per side, their images per camera, pairs, partial probes; and the seed of draws."""

    identities: int = 8
    images: int = 6
    pairs: int = 12
    crops: int = 12
    seed: int = 0


def figures(rows: Sequence[Statistics]) -> Table:
    """The statistics of the splits as a table."""
    cells = tuple(Row(row.split, tuple(row.cells())) for row in rows)
    note = NOTE[0].upper() + NOTE[1:] + "." if any(" / " in str(cell) for row in cells for cell in row.cells) else ""
    return Table("Splits", "split", COLUMNS, cells, note)


def spreads(sources: Mapping[str, Source], sizes: Mapping[str, NDArray[np.integer]]) -> list[Plot]:
    """Distributions of images per identity, heights and widths in each split, where they are not constant."""
    each = {
        split: np.unique(source.identities[source.identities != NOBODY], return_counts=True)[1]
        for split, source in sources.items()
    }
    heights = {split: pixels[:, 0] for split, pixels in sizes.items()}
    widths = {split: pixels[:, 1] for split, pixels in sizes.items()}
    drawn = [
        _spread("Images per identity", each, "images", "identities with at most so many (%)"),
        _spread("Heights", heights, "pixels", "images that are at most so high (%)"),
        _spread("Widths", widths, "pixels", "images that are at most so wide (%)"),
    ]
    return [plot for plot in drawn if plot is not None]


def _spread(caption: str, numbers: Mapping[str, NDArray[np.integer]], x: str, y: str) -> Plot | None:
    """Cumulative shares; None if in every split all are equal."""
    curves = []
    every = np.unique(np.concatenate(list(numbers.values())))
    marks = every if len(every) <= _MARKS else np.linspace(every[0], every[-1], _MARKS).round()
    for split, values in numbers.items():
        places = np.unique(values)
        if len(places) > 1:
            if len(places) > _MOST:
                places = np.unique(np.quantile(values, np.linspace(0, 1, _MOST)).round().astype(int))
            shares = 100 * np.searchsorted(np.sort(values), places, side="right") / len(values)
            curves.append(Curve(split, tuple(shares.tolist()), places=tuple(map(float, places))))
    axes = Axes(x, y, marks=tuple(map(float, marks)), words=("", f" {x}"))
    return Plot(caption, tuple(curves), axes) if curves else None


def sections(sources: Mapping[str, Source], *, amount: Amount, size: tuple[int, int]) -> list[Section]:
    """The pictures of a data set, in sections."""
    shown = []
    if "train" in sources:
        train = {"train": sources["train"]}
        shown.append(Section("Trained on", _LOOK_FOR, _people(train, sources["train"], amount)))
        shown.append(_pairs(sources["train"], amount, size))
    tested = {split: sources[split] for split in ("probe", "gallery") if split in sources}
    if tested:
        first = next(iter(tested.values()))
        text = "Probes stand before the gallery images that they should find. " + _LOOK_FOR
        shown.append(Section("Tested on", text, _people(tested, first, amount)))
    if "probe" in sources:
        shown.append(_crops(sources["probe"], amount, size))
    return [section for section in shown if section.cards]


_LOOK_FOR = "Everybody on a card should be one person, upright, and each camera should have its own light and place."


def _people(sides: Mapping[str, Source], first: Source, amount: Amount) -> tuple[Card, ...]:
    """Some identities of the first side with all their images, by split and camera; then some images of nobody."""
    known = np.unique(first.identities[first.identities != NOBODY])
    rng = np.random.default_rng([amount.seed, len(sides)])
    chosen = np.sort(rng.choice(known, min(amount.identities, len(known)), replace=False))
    cards = [_card(f"Identity {identity}", sides, identity, amount.images) for identity in chosen.tolist()]
    nobody = {split: source for split, source in sides.items() if np.any(source.identities == NOBODY)}
    if nobody and amount.identities:
        cards.append(_card(f"Nobody (identity {NOBODY}): no evaluation counts them", nobody, NOBODY, amount.images))
    return tuple(cards)


def _card(title: str, sides: Mapping[str, Source], identity: int, most: int) -> Card:
    strips, total, shown = [], 0, 0
    for split, source in sides.items():
        cameras = source.cameras[source.identities == identity]
        for camera in np.unique(cameras).tolist():
            at = np.flatnonzero((source.identities == identity) & (source.cameras == camera))
            label = f"{split}, {_camera(camera)}" if len(sides) > 1 else _camera(camera)
            strips.append(Strip(label, tuple(_shot(source, i) for i in at[:most].tolist())))
            total, shown = total + len(at), shown + min(most, len(at))
    note = f"{total:,} image{'s' * (total != 1)}" + (f", {shown:,} shown" if shown < total else "")
    return Card(title, tuple(strips), note)


def _camera(camera: int) -> str:
    return "camera unknown" if camera == UNKNOWN_CAMERA else f"camera {camera}"


def _shot(source: Source, position: int) -> Shot:
    example = source[position]
    height, width = example.image.shape[:2]
    split = source.title.split("/")[-1]
    spoken = f"{split}, identity {example.identity}, {_camera(example.camera)}: {example.name}"
    return Shot(example.image, spoken, f"{example.name.split('/')[-1]} {height}\N{MULTIPLICATION SIGN}{width}")


def _pairs(train: Source, amount: Amount, size: tuple[int, int]) -> Section:
    text = "A whole view and a patch of another image at its scale, both augmented as training does it by default."
    positives, negatives = amount.pairs - amount.pairs // 2, amount.pairs // 2
    each = np.unique(train.identities[train.identities != NOBODY], return_counts=True)[1]
    if not np.any(each > 1):
        positives = 0
    if len(each) < 2:
        negatives = 0
    drawn = training_pairs.draw_pairs(
        train.identities, train.cameras, positives=positives, negatives=negatives, seed=(amount.seed, 0)
    )
    cards = []
    for number, (whole, patch, sign) in enumerate(zip(*(part.tolist() for part in drawn), strict=True)):
        rng = np.random.default_rng([amount.seed, number])
        full = views.whole(train[whole].image, rng, size=size, augmentation=views.Augmentation())
        part = views.patch(train[patch].image, rng, size=size, augmentation=views.Augmentation())
        seen = part.pixels[: part.size[0], : part.size[1]]
        people = sorted({int(train.identities[whole]), int(train.identities[patch])})
        shots = (
            Shot(full.pixels, f"Whole view of identity {train.identities[whole]}", _camera(train.cameras[whole])),
            Shot(
                seen,
                f"Patch of identity {train.identities[patch]}",
                _camera(train.cameras[patch]),
                tall=len(seen) / size[0],
            ),
        )
        title = f"Identit{'y' if len(people) == 1 else 'ies'} {' and '.join(map(str, people))}"
        cards.append(Card(title, (Strip("", shots),), right=sign > 0))
    return Section("Training pairs", text, tuple(cards), narrow=True)


def _crops(probe: Source, amount: Amount, size: tuple[int, int]) -> Section:
    text = (
        "What --partial=crop cuts out of the probes. An evaluation does so by itself where the data set's probes are "
        "whole people; parts of people, and probes of which that is not known, it cuts only where the flag is given."
    )
    rng = np.random.default_rng([amount.seed, 3])
    cards = []
    for i in np.sort(rng.choice(len(probe), min(amount.crops, len(probe)), replace=False)).tolist():
        example = probe[i]
        whole = views.resize(example.image, size)
        box = partial_crops.partial_box(*size, seed_key=(amount.seed, i))
        shots = (
            Shot(whole, f"Whole probe of identity {example.identity}", box=box),
            Shot(partial_crops.crop(whole, box), "What is seen of it", tall=box.height / size[0]),
        )
        cards.append(Card(f"Identity {example.identity}", (Strip("", shots),), example.name))
    return Section("Partial probes", text, tuple(cards), narrow=True)
