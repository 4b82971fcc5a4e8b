"""What a search shows: tables on the terminal, and a page with pictures and reconstruction maps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from data import views
from data.source import decode
from dsr_jax import match, report
from dsr_jax.report import contact_sheet
from experiments.evaluation.features import Network
from experiments.evaluation.showing import covered
from experiments.searching.answers import Answer, Hit
from experiments.searching.listed import Listed
from experiments.searching.probes import Seen
from experiments.settings.searching import Compared

MARK = "dsr_jax search"  # in the head of the page
COLUMNS = ("name", "identity", "camera", "time", "distance", "interval", "proven against", "probability")


def cells(hit: Hit) -> tuple[str, ...]:
    """A place as the cells of `COLUMNS`; what is not known is a dash."""
    return (
        hit.name,
        "-" if hit.identity is None else hit.identity,
        "-" if hit.camera < 0 else str(hit.camera),
        "-" if hit.time is None else datetime.fromtimestamp(hit.time).isoformat(" ", "minutes"),
        f"{hit.distance:.4f}",
        f"{hit.lower:.4f} to {hit.upper:.4f}",
        hit.proven,
        "-" if hit.probability is None else f"{100 * hit.probability:.1f} %",
    )


def sentences(answer: Answer, rate: float) -> list[str]:
    """What is to be said of an answer beside its places."""
    hits, stages = answer.found.hits, answer.found.stages
    way = " -> ".join(f"{stage.by} of {stage.entries}" for stage in stages)
    said = [f"{hits.searched} pictures searched ({way})."]
    if answer.nobody is not None:
        judged = "Nobody in this gallery" if answer.nobody else "Somebody in this gallery"
        said.append(f"{judged}, at a false-positive rate of {rate:g}.")
    if hits.first_probability is not None:
        said.append(f"The first answer is right with a probability of {100 * hits.first_probability:.1f} %.")
    return [*said, *answer.remarks]


def text(answer: Answer, rate: float) -> str:
    """An answer for the terminal."""
    height, width = answer.probe.picture.shape[:2]
    rows = [[str(hit.rank), *cells(hit)] for hit in answer.hits]
    head = f"probe {answer.probe.name}, matched as {width} x {height} pixels (width x height)"
    return "\n".join([head, *sentences(answer, rate), "", report.text_table(rows, ["rank", *COLUMNS]), ""])


def page(
    out: Path,
    answers: Sequence[Answer],
    listed: Listed,
    network: Network,
    *,
    rate: float,
    matching: Compared,
    reconstructions: int,
    config: Mapping[str, Any],
) -> Path:
    """Writes the page: for every probe its nearest pictures, the table, and how it was rebuilt from the first.

    Raises:
      ValueError: if ``out`` holds another page.
      OSError: if it cannot be written.
    """
    files = {one.name: one for one in listed.pictures}
    sections, tables, rebuilt = [], [], []
    for answer in answers:
        pictures = {}
        for hit in answer.hits:
            if hit.name in files:
                pictures[hit.name] = views.resize(decode(files[hit.name].read()), network.size)
        sections.append(_section(answer, pictures, rate))
        rows = tuple(report.Row(str(hit.rank), cells(hit)) for hit in answer.hits)
        tables.append(report.Table(answer.probe.name, "rank", COLUMNS, rows))
        rebuilt += [
            reconstruction(
                answer.probe,
                (hit.name, answer.gallery.maps[int(answer.found.hits.entries[place])], pictures[hit.name]),
                stride=network.output_stride,
                matching=matching,
            )
            for place, hit in enumerate(answer.hits[:reconstructions])
            if hit.name in pictures
        ]
    title = "Search" if len(answers) != 1 else f"Search for {Path(answers[0].probe.name).name}"
    return report.write_search(
        out, title=title, sections=sections, tables=tables, reconstructions=rebuilt, config=config
    )


def _section(answer: Answer, pictures: Mapping[str, np.ndarray], rate: float) -> contact_sheet.Section:
    height = max([answer.probe.picture.shape[0], *(picture.shape[0] for picture in pictures.values())])
    probe = contact_sheet.Shot(answer.probe.picture, "The probe", "probe", tall=answer.probe.picture.shape[0] / height)
    shots = [
        contact_sheet.Shot(
            pictures[hit.name],
            f"Rank {hit.rank}, {hit.name}, distance {hit.distance:.3f}",
            f"{hit.rank}: {hit.identity or hit.name}, {hit.distance:.3f}",
            tall=pictures[hit.name].shape[0] / height,
        )
        for hit in answer.hits
        if hit.name in pictures
    ]
    lost = len(answer.hits) - len(shots)
    note = f"{lost} of the nearest pictures are not among --pictures any more, and not shown." if lost else ""
    strips = (contact_sheet.Strip("probe", (probe,)), contact_sheet.Strip("nearest first", tuple(shots)))
    card = contact_sheet.Card(Path(answer.probe.name).name, strips, note)
    return contact_sheet.Section(f"Answer for {answer.probe.name}", " ".join(sentences(answer, rate)), (card,))


def reconstruction(
    probe: Seen, entry: tuple[str, np.ndarray, np.ndarray], *, stride: int, matching: Compared
) -> report.Reconstruction:
    """How a probe is rebuilt from a gallery entry.

    Args:
      probe: the probe.
      entry: name, map and picture of the entry, the picture at the network's size.
      stride: pixels per position of the maps.
      matching: how the search compared.
    """
    name, values, picture = entry
    how = matching.how
    how["coder"] = "maxsim" if matching.coder == "maxsim" else "auto"  # all other coders have the same codes
    masks = None if probe.mask is None else [probe.mask]
    found = match.explain(probe.map, values, probe_masks=masks, **how)
    return report.Reconstruction(
        f"{Path(probe.name).name} from {name}",
        covered(probe.picture, probe.map, stride),
        covered(picture, values, stride),
        found.codes,
        found.rebuilt,
        found.distance,
        stride,
        None,
        None,
        (found.visible, found.gallery_visible),
    )
