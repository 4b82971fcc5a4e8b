"""Comparison of a source's counts with the published ones: the nearest version, and the differences."""

from collections.abc import Mapping

from data.inspection.statistics import aligned
from data.source import SPLITS
from data.sources.wording import plural

Counts = Mapping[str, tuple[int, int]]  # split -> (images, identities)


def nearest(actual: Counts, published: Mapping[str, Counts]) -> str | None:
    """The published version that differs least: by images first, then by identities; None if none is published.

    Example:
      >>> nearest({"probe": (300, 60)}, {"a": {"probe": (600, 60)}, "b": {"probe": (301, 60)}})
      'b'
    """

    def difference(version: str) -> tuple[int, int]:
        pairs = [
            (_of(actual, split), _of(published[version], split)) for split in SPLITS if split in published[version]
        ]
        return sum(abs(a[0] - b[0]) for a, b in pairs), sum(abs(a[1] - b[1]) for a, b in pairs)

    return min(published, key=difference, default=None)


def compared(actual: Counts, published: Mapping[str, Counts]) -> tuple[str, str, bool]:
    """The counts side by side.

    Returns:
      A table, a sentence that names the version, and whether it fits.

    Example:
      >>> lines, version, fits = compared({"probe": (299, 60)}, {"2015": {"probe": (300, 60)}})
      >>> print(lines)
      split    images  published     by  identities  published  by
      probe       299        300     -1          60         60   0
      >>> print(version)
      nearest to the version "2015", which differs: 1 image of probe fewer
    """
    version = nearest(actual, published)
    if version is None:
        return "", "no counts are published", True
    lines = [["split", "images", "published", "by", "identities", "published", "by"]]
    differences = []
    for split in (split for split in SPLITS if split in actual or split in published[version]):
        ours, theirs = _of(actual, split), published[version].get(split)
        line = [split]
        for number, nouns in enumerate((("image", "images"), ("identity", "identities"))):
            if theirs is None:
                line += [f"{ours[number]:,}", "unknown", "-"]
                continue
            by = ours[number] - theirs[number]
            line += [f"{ours[number]:,}", f"{theirs[number]:,}", f"{by:+,}" if by else "0"]
            if by:
                differences.append(f"{plural(abs(by), *nouns)} of {split} {'more' if by > 0 else 'fewer'}")
        lines.append(line)
    if not differences:
        return aligned(lines), f'fits the version "{version}"', True
    return aligned(lines), f'nearest to the version "{version}", which differs: {", ".join(differences)}', False


def _of(counts: Counts, split: str) -> tuple[int, int]:
    return counts.get(split, (0, 0))
