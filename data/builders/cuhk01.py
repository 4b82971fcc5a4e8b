"""CUHK01 (Li et al., ACCV 2012): 971 people on a campus, two pictures by each of two cameras.

A name such as `0001003.png` is person and picture: 1 and 2 are by the first camera, 3 and 4 by the second. Papers test
on 486 random people (and train on 485) or on 100. No draw is standard: the test people are drawn here from a seed,
`--source=PATH#test=100,seed=3`. Probes are by the first camera, the gallery by the second.

Layout: `CUHK01.zip` with the folder `campus`, as torchreid reads it.
"""

import dataclasses
import re
from pathlib import Path

import numpy as np

from data.builders.builder import Builder
from data.builders.listing import Listing, Record, by_split
from data.builders.parts import Part, listing
from data.sources import options
from data.sources.tree import opened, stem

EXPECTED = """\
CUHK01.zip              archive or folder
  campus/
    0001001.png ...     person (4), picture (3)"""

_CAMPUS = [[Part("gallery", "campus", re.compile(r"(?P<identity>\d{4})00[1-4]"), "0001001.png")]]
_PEOPLE = 971


class Cuhk01(Builder):
    """CUHK01; 486 people for testing by default."""

    VERSION = "1.0.0"
    ABOUT = "CUHK01: 971 people, two pictures by each of two cameras; the people tested on are drawn from a seed."
    EXPECTED = EXPECTED
    CITATION = "W. Li, R. Zhao, X. Wang: Human Reidentification with Transferred Metric Learning, ACCV 2012."
    LICENCE = "For academic research; read the authors' terms on the page. The pictures show real people."
    HOMEPAGE = "https://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html"
    PROBES = "whole"
    COUNTS = {
        "486 for testing": {"train": (1_940, 485), "probe": (972, 486), "gallery": (972, 486)},
        "100 for testing": {"train": (3_484, 871), "probe": (200, 100), "gallery": (200, 100)},
    }

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, a folder or an archive; options `test` (people) and `seed`."""
        place, chosen = options.parted(source, {"test": "486", "seed": "0"})
        test = options.integer(chosen, "test", low=1, high=_PEOPLE)
        seed = options.integer(chosen, "seed", low=0, high=2**31 - 1)
        campus = listing(opened(place, EXPECTED), _CAMPUS, EXPECTED)
        people = sorted({record.identity for record in campus.splits["gallery"]})
        if test > len(people):
            raise ValueError(f"--source: test={test}, but there are {len(people)} people in {place}")
        tested = set(np.random.default_rng(seed).permutation(people)[:test].tolist())
        pairs = []
        for record in campus.splits["gallery"]:
            camera = 1 if stem(record.name).endswith(("1", "2")) else 2
            split = "train" if record.identity not in tested else "probe" if camera == 1 else "gallery"
            pairs.append((split, Record(record.name, record.identity, camera, record.read)))
        settings = f"cuhk01 {cls.VERSION} test={test} seed={seed}"
        return dataclasses.replace(campus, splits=by_split(pairs), settings=settings)
