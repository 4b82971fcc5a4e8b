"""Occluded-REID (Zhuo et al., ICME 2018): 200 people on a campus, five occluded and five whole pictures each.

Probes are the occluded pictures, the gallery the whole ones. A name such as `001_01.tif` is person and picture. The
cameras were mobile and are not published, so that they are unknown here, and any gallery picture is a candidate.

Two versions circulate: the authors' `Occluded_REID` (folders per person of .tif of 128 x 64; read by PVPM and BPBreID)
and the repackaged `OccludedREID` of fast-reid (`query` and `gallery`, flat .jpg). Both are said to hold 1,000
pictures of 200 people per side. Papers that train on half of the people (the AFPB protocol) test on the other half
only; that split is not fixed anywhere, and is not made here.
"""

import dataclasses
from pathlib import Path

from data.builders.builder import Builder
from data.builders.listing import Listing
from data.builders.partial_reid import NAME, REPACKAGED
from data.builders.parts import Part, listing
from data.sources.tree import extension, opened

EXPECTED = """\
Occluded_REID/                folder or archive, of any name
  occluded_body_images/
    001/                      folders per person, or none
      001_01.tif ...          person_picture
  whole_body_images/
    001/
      001_01.tif ...
or, repackaged,
  query/ (or probe/)
    001_01.jpg ...
  gallery/
    001_01.jpg ..."""

_AUTHORS = [
    Part("probe", "occluded_body_images", NAME, "001_01.tif"),
    Part("gallery", "whole_body_images", NAME, "001_01.tif"),
]


class OccludedReid(Builder):
    """Occluded-REID: all people are tested on, none is trained on."""

    VERSION = "1.0.0"
    ABOUT = "Occluded-REID: 200 people, five occluded pictures each as probes, five whole ones as gallery."
    EXPECTED = EXPECTED
    CITATION = "J. Zhuo, Z. Chen, J. Lai, G. Wang: Occluded Person Re-identification, ICME 2018."
    LICENCE = "For research; we know of no licence text. The pictures show real people: ask the authors."
    HOMEPAGE = "https://github.com/tinajia2012/ICME2018_Occluded-Person-Reidentification_datasets"
    CAMERA_RULE = "any"
    PROBES = "partial"
    COUNTS = {
        "Occluded_REID (authors, .tif) and OccludedREID (repackaged, .jpg)": {
            "probe": (1_000, 200),
            "gallery": (1_000, 200),
        }
    }

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, a folder or an archive."""
        pictures = listing(opened(source, EXPECTED), [_AUTHORS, *REPACKAGED], EXPECTED)
        first = extension(pictures.splits["probe"][0].name)
        version = "the authors' Occluded_REID" if first in (".tif", ".tiff") else "the repackaged OccludedREID"
        remark = f"By its {first or 'nameless'} files, this is {version}."
        return dataclasses.replace(pictures, remarks=[remark, *pictures.remarks])
