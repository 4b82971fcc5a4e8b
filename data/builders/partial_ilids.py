"""Partial-iLIDS: 119 people at an airport, a probe cut from one picture each, and whole pictures as gallery.

It is made from i-LIDS (Zheng et al., BMVC 2009), 476 pictures by several cameras, in which luggage and other people
hide much. As published with the paper (He et al., CVPR 2018) the probe is what can be seen of a person in one picture,
cut out by hand, and the gallery one whole picture: 119 and 119. It circulates as `Probe` and `Gallery` with names such
as `1.jpg` (read by EANet and HOReID) and repackaged as `query` and `gallery` with names such as `001_000.jpg`
(fast-reid). Cameras are not published, so that they are unknown here, and any gallery picture is a candidate.

From i-LIDS itself a simulated version is made: the first picture of each person, cut at random as all partial probes
are here (`partial_crops.partial_box`), against the person's other pictures. Which picture is cut, and where, differs
from the published ones: figures on it are not comparable with those of papers.
"""

import dataclasses
import re
from pathlib import Path

from data.builders.builder import Builder
from data.builders.cropping import Cropped
from data.builders.listing import Listing, Record
from data.builders.parts import Part, listing
from data.sources import options
from data.sources.tree import opened

EXPECTED = """\
Partial_iLIDS/            folder or archive, of any name
  Probe/ (or query/)
    1.jpg ...             person, or person_picture
  Gallery/
    1.jpg ..."""

_NAME = re.compile(r"(?P<identity>\d{1,4})(_\w+)?")
_LAYOUTS = [
    [Part("probe", name, _NAME, "1.jpg"), Part("gallery", "Gallery", _NAME, "1.jpg")] for name in ("Probe", "query")
]


class PartialIlids(Builder):
    """Partial-iLIDS as published."""

    VERSION = "1.0.0"
    ABOUT = "Partial-iLIDS: 119 people, one partial picture each as probe, one whole one as gallery."
    EXPECTED = EXPECTED
    CITATION = "L. He, J. Liang, H. Li, Z. Sun: Deep Spatial Feature Reconstruction, CVPR 2018, from i-LIDS, BMVC 2009."
    LICENCE = "i-LIDS is of the UK Home Office, for research under its terms. The pictures show real people."
    HOMEPAGE = "https://github.com/lingxiao-he/Partial-Person-ReID"
    CAMERA_RULE = "any"
    PROBES = "partial"
    COUNTS = {"Partial_iLIDS": {"probe": (119, 119), "gallery": (119, 119)}}

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, a folder or an archive."""
        return listing(opened(source, EXPECTED), _LAYOUTS, EXPECTED)


EXPECTED_WHOLE = """\
i-LIDS_Pedestrian.tgz     archive or folder
  Persons/
    0001001.jpg ...       person (4), picture (3)"""

_WHOLE = [[Part("gallery", "Persons", re.compile(r"(?P<identity>\d{4})\d{3}"), "0001001.jpg")]]


class PartialIlidsSimulated(PartialIlids):
    """Partial probes cut at random from i-LIDS; `--source=PATH#seed=1` cuts others."""

    ABOUT = "i-LIDS: the first picture of each of 119 people, cut at random, against their other pictures."
    EXPECTED = EXPECTED_WHOLE
    CITATION = "W.-S. Zheng, S. Gong, T. Xiang: Associating Groups of People, BMVC 2009."
    HOMEPAGE = "Queen Mary University of London, i-LIDS_Pedestrian.tgz"
    COUNTS = {"i-LIDS, 476 pictures": {"probe": (119, 119), "gallery": (357, 119)}}

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`: the first of each person, cut, is a probe, the others are the gallery."""
        place, chosen = options.parted(source, {"seed": "0"})
        seed = options.integer(chosen, "seed", low=0, high=2**31 - 1)
        whole = listing(opened(place, EXPECTED_WHOLE), _WHOLE, EXPECTED_WHOLE)
        probes: dict[int, Record] = {}
        gallery = []
        for record in whole.splits["gallery"]:
            if record.identity in probes:
                gallery.append(record)
            else:
                cut = Cropped(record.read, seed_key=(seed, record.identity))
                probes[record.identity] = Record(record.name, record.identity, record.camera, cut)
        splits = {"probe": list(probes.values()), "gallery": gallery}
        return dataclasses.replace(whole, splits=splits, settings=f"partial_ilids_simulated {cls.VERSION} seed={seed}")
