"""Check of a source without building anything: expected and actual tree, counts, oddities, and whether it is usable.

A source is not usable if no data set can be made of it, if nothing can be tested on it, or if results would be too
good because people or pictures are both trained on and tested on. Everything else that is odd is a caution.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.builders.listing import CAUTION
from data.inspection import counts, duplicates
from data.inspection.statistics import statistics, table
from data.inspection.survey import Inspection, inspect
from data.source import NOBODY, SPLITS
from data.sources import layout, left_out, levels, tree, wording
from dsr_jax.evaluation import candidates

if TYPE_CHECKING:
    from data.builders.builder import Builder

TALL, WIDE = 6.0, 1 / 3  # height over width beyond which a crop is odd
TINY = (32, 16)  # height and width below which it is
FAR = 4.0  # factor to the median height or width of its split
_SHOWN = 5  # names of a finding
_TABLES = (".csv", ".json")  # sources that list files beside them


@dataclasses.dataclass(frozen=True)
class Finding:
    """Result of one kind of look at a source."""

    title: str  # the kind
    lines: Sequence[str]  # a line per hit
    fatal: str = ""  # reason why the source is not usable if there is a hit; empty for a caution
    note: str = ""  # last line, always shown
    count: int | None = None  # number of hits, where that is not the number of lines
    harmless: bool = False  # whether hits are not even a caution
    most: int = _SHOWN  # number of lines that are shown

    def text(self, width: int) -> str:
        """The title in `width` columns, the count, and the first lines."""
        texts = [wording.lines(self.lines, self.most, indent=6 * " "), 6 * " " + self.note if self.note else ""]
        shown = "".join(f"\n{text}" for text in texts if text)
        count = f"{len(self.lines) if self.count is None else self.count:,}" if self.lines else "none"
        return f"  {self.title:<{width}}{count:>8}{shown}"


@dataclasses.dataclass(frozen=True)
class Report:
    """Report of a check: `text` to print, the `reason` why the source is not usable, and the number of cautions."""

    text: str
    reason: str = ""
    cautions: int = 0

    @property
    def usable(self) -> bool:
        """Whether a data set can be made of the source and used."""
        return not self.reason

    def __str__(self) -> str:
        """The text, and the verdict in the last line."""
        careful = f", with {self.cautions} caution{'s' * (self.cautions > 1)}" if self.cautions else ""
        return f"{self.text}\n\n{f'not usable: {self.reason}' if self.reason else f'usable{careful}'}"


def check(builder: "type[Builder]", source: Path | None, *, skip_bad: bool = False, progress: bool = False) -> Report:
    """Checks a source; nothing in it raises an error.

    Example:
      >>> from data.builders.folder import Folder
      >>> print(check(Folder, Path("/nowhere/people.csv")))
      folder: Pictures listed in a CSV with the columns path,identity,camera,role.
      ...
      not usable: --source=/nowhere/people.csv does not exist
    """
    head = [f"{builder.name}: {builder.ABOUT}"]
    head += [f"  {name}: {text}" for name, text in (("from", builder.HOMEPAGE), ("licence", builder.LICENCE)) if text]
    if builder.EXPECTED:
        head += ["", "expected beside found", _trees(builder, source)]
    try:
        listing = builder.listing(source)
        if not len(listing):
            raise ValueError(f"--source={source} holds no picture: name the folder that does")
    except (ValueError, OSError) as error:
        first, *rest = str(error).splitlines()
        rest = rest if "Expected" not in first else []  # the trees are above
        text = "\n".join([*head, *([""] if rest else []), *rest])
        return Report(text, first.split(" Expected")[0].rstrip(".:"))
    seen = inspect(listing, progress=progress)
    rows = [
        statistics(split, seen.identities[at], seen.cameras[at], seen.sizes[at & seen.readable])
        for split in SPLITS
        if (at := seen.splits == split).any()
    ]
    sides, version, fits = counts.compared({row.split: (row.images, row.identities) for row in rows}, builder.COUNTS)
    findings = [
        Finding(
            "files that may be pictures and are not taken",
            left_out.sentences(listing.left_out),
            count=len(listing.left_out),
            most=4 * _SHOWN,
        ),
        *_findings(seen, builder.CAMERA_RULE, skip_bad=skip_bad, progress=progress),
    ]
    parts = ["\n".join(head), "\n".join([table(rows), *listing.remarks]), *([sides] if sides else [])]
    width = max(len(finding.title) for finding in findings)
    text = "\n\n".join(parts) + f"\n{version}\n\nlooked for\n" + "\n".join(one.text(width) for one in findings)
    reasons = [finding.fatal for finding in findings if finding.fatal and finding.lines]
    cautions = sum(bool(finding.lines) and not finding.harmless for finding in findings) - len(reasons) + (not fits)
    cautions += sum(remark.startswith(CAUTION) for remark in listing.remarks)
    return Report(text, "; ".join(reasons), cautions)


def _trees(builder: "type[Builder]", source: Path | None) -> str:
    if source is None:
        return layout.beside(builder.EXPECTED, "(no --source)")
    place = source if source.exists() else Path(str(source).rpartition("#")[0] or source)  # PATH#name=value
    return layout.beside(builder.EXPECTED, _drawn(place))


def _drawn(place: Path) -> str:
    """Drawing of a source, also inside archives where they can be read."""
    if place.is_file() and place.suffix.lower() in _TABLES:
        place = place.parent
    elif place.exists():
        with contextlib.suppress(ValueError, OSError):
            return tree.opened(place, "").drawn()
    try:
        return layout.drawing(place)
    except OSError as error:  # a device, or a folder that may not be looked into
        return f"({error.strerror})"


def _findings(seen: Inspection, camera_rule: str, *, skip_bad: bool, progress: bool) -> list[Finding]:
    unreadable = [f"{seen.names[i]}: {reason}" for i, reason in seen.refused.items()]
    unread = f"{len(unreadable):,} of {len(seen.names):,} images cannot be read: replace them, or pass --skip_bad"
    if not seen.readable.any():
        unread, skip_bad = f"none of {len(seen.names):,} images can be read", False
    flat = [seen.names[i] for i in np.flatnonzero(seen.readable & (seen.levels < levels.FEW)).tolist()]
    tiny = np.flatnonzero(seen.readable & (seen.sizes < np.array(TINY)).any(axis=1)).tolist()
    equal = duplicates.same_bytes(seen)
    alike = duplicates.same_looks(seen, progress=progress)
    again = duplicates.same_pixels(seen)
    leaked = [pair for pair in equal if "train" in seen.splits[list(pair)]]
    tested = [pair for pair in equal if "train" not in seen.splits[list(pair)]]
    leaks = wording.plural(len(leaked), "file is", "files are")
    repeated = f"each beside the one most like it; there are {alike.total:,} such pairs in all"
    return [
        Finding("images that cannot be read", unreadable, "" if skip_bad else unread),
        Finding(f"images of odd shape (height / width over {TALL:.0f}, under 1/3)", _odd_shapes(seen)),
        Finding(f"tiny images (under {TINY[0]} high or {TINY[1]} wide)", _sized(seen, tiny)),
        Finding(f"sizes {FAR:.0f} times from their split's median", _far(seen)),
        Finding("images of (nearly) one colour", flat, note=levels.REMEDY if flat else ""),
        Finding(
            "the same file trained on and tested on",
            _named(seen, leaked),
            f"{leaks} both trained on and tested on: delete from one split",
        ),
        Finding("the same file in probe and gallery", _named(seen, tested)),
        Finding(
            f"the same picture in two splits ({duplicates.NEAR} of 128 bits)",
            _named(seen, alike.pairs),
            note=repeated if alike.total > len(alike.pairs) else "",
        ),
        Finding("the same picture in one split as two people", _named(seen, again.strangers)),
        Finding("the same picture in one split twice as one person", _named(seen, again.same), harmless=True),
        _shared(seen),
        *_mates(seen, camera_rule),
    ]


def _odd_shapes(seen: Inspection) -> list[str]:
    at = np.flatnonzero(seen.readable)
    ratios = seen.sizes[at, 0] / seen.sizes[at, 1]
    return _sized(seen, at[(ratios > TALL) | (ratios < WIDE)].tolist())


def _far(seen: Inspection) -> list[str]:
    """Images much larger or smaller than the median of their split."""
    lines = []
    for split in dict.fromkeys(seen.splits.tolist()):
        at = np.flatnonzero(seen.readable & (seen.splits == split))
        if len(at):
            times = seen.sizes[at] / np.median(seen.sizes[at], axis=0)
            lines += _sized(seen, at[((times > FAR) | (times < 1 / FAR)).any(axis=1)].tolist())
    return lines


def _sized(seen: Inspection, positions: Sequence[int]) -> list[str]:
    return [f"{seen.names[i]}: {seen.sizes[i, 0]:,} x {seen.sizes[i, 1]:,} (height x width)" for i in positions]


def _named(seen: Inspection, pairs: Sequence[tuple[int, int]]) -> list[str]:
    lines = []
    for a, b in pairs:
        one, other = int(seen.identities[a]), int(seen.identities[b])
        same = "" if one == other else ", once as nobody" if NOBODY in (one, other) else ", as two people"
        lines.append(f"{seen.names[a]} = {seen.names[b]}{same}")
    return lines


def _shared(seen: Inspection) -> Finding:
    """Identities that are trained on and tested on."""
    trained = set(seen.identities[seen.splits == "train"].tolist()) - {NOBODY}
    both = sorted(trained & set(seen.identities[seen.splits != "train"].tolist()))
    count = wording.plural(len(both), "identity is", "identities are")
    fatal = f"{count} both trained on and tested on: give each to one of them"
    return Finding("identities trained on and tested on", [f"identity {identity}" for identity in both], fatal)


def _mates(seen: Inspection, camera_rule: str) -> list[Finding]:
    """Probes without a picture of their person in the gallery."""
    probes, gallery = (np.flatnonzero(seen.readable & (seen.splits == split)) for split in ("probe", "gallery"))
    if not len(probes) and not len(gallery):
        return []
    if not len(probes) or not len(gallery):
        absent = "gallery" if len(probes) else "probe"
        return [Finding("splits without images", [absent], f"nothing can be tested, there is no {absent} image")]
    identities, cameras = seen.identities, seen.cameras
    labels = candidates.Labels(identities[probes], identities[gallery], cameras[probes], cameras[gallery], camera_rule)
    alone = probes[~candidates.answered(labels)].tolist()
    lines = [f"{seen.names[i]}: identity {seen.identities[i]}, camera {seen.cameras[i]}" for i in alone]
    rule = candidates.rule(camera_rule).condition
    fatal = f"no probe has its person in the gallery{rule}: check how both number people and cameras"
    title = f"probes whose person is not in the gallery{rule}"
    return [Finding(title, lines, fatal if len(alone) == len(probes) else "")]
