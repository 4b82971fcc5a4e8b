"""Partial-REID (Zheng et al., ICCV 2015): 60 people on a campus, five pictures each whole, partial and occluded.

A partial picture is an occluded one cut down by hand to what can be seen. As in the paper the probes are the partial
pictures and the gallery the whole ones; in other work (PVPM) the probes are the occluded ones, here a second data set.
A name such as `001_002.jpg` is person and picture. Cameras are not published, so that they are unknown here, and any
gallery picture is a candidate.

It circulates as the authors' `Partial-REID_Dataset` (read by EANet and PVPM), as `Partial_REID` (fast-reid) and
repackaged as `query` and `gallery`; the counts are the same. The authors' file is a .rar: unpack it.
"""

import re
from pathlib import Path

from data.builders.builder import Builder
from data.builders.listing import Listing
from data.builders.parts import Part, listing
from data.sources.tree import opened

_AUTHORS = """\
Partial-REID_Dataset/       folder or archive, of any name
  partial_body_images/
    001_001.jpg ...         person_picture
  occluded_body_images/
    001_001.jpg ...
  whole_body_images/
    001_001.jpg ..."""
EXPECTED = f"""\
{_AUTHORS}
or, repackaged,
  query/ (or probe/)
    001_001.jpg ...
  gallery/
    001_001.jpg ..."""

# The person; then `_`, and whatever numbers the picture: 001_002, 001_c1_2.
NAME = re.compile(r"(?P<identity>\d{1,4})_\w+")
_WHOLE = Part("gallery", "whole_body_images", NAME, "001_001.jpg")
REPACKAGED = [
    [Part("probe", name, NAME, "001_001.jpg"), Part("gallery", "gallery", NAME, "001_001.jpg")]
    for name in ("query", "probe")
]


class PartialReid(Builder):
    """Partial-REID with the partial pictures as probes, as in the paper."""

    VERSION = "1.0.0"
    ABOUT = "Partial-REID: 60 people, five partial pictures each as probes, five whole ones as gallery."
    EXPECTED = EXPECTED
    CITATION = "W.-S. Zheng, X. Li, T. Xiang, S. Liao, J. Lai, S. Gong: Partial Person Re-identification, ICCV 2015."
    LICENCE = "For research; we know of no licence text. The pictures show real people: ask the authors."
    HOMEPAGE = "The group of Wei-Shi Zheng at Sun Yat-sen University (isee, datasets), Partial-REID_Dataset.rar"
    CAMERA_RULE = "any"
    PROBES = "partial"
    COUNTS = {"Partial-REID": {"probe": (300, 60), "gallery": (300, 60)}}

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, a folder or an archive."""
        partial = Part("probe", "partial_body_images", NAME, "001_001.jpg")
        return listing(opened(source, EXPECTED), [[partial, _WHOLE], *REPACKAGED], EXPECTED)


class PartialReidOccluded(PartialReid):
    """Partial-REID with the occluded pictures as probes."""

    ABOUT = "Partial-REID: 60 people, five occluded pictures each as probes, five whole ones as gallery."
    EXPECTED = _AUTHORS

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, which must be in the authors' folders: repackaged, nothing says `occluded`."""
        occluded = Part("probe", "occluded_body_images", NAME, "001_001.jpg")
        return listing(opened(source, _AUTHORS), [[occluded, _WHOLE]], _AUTHORS)
