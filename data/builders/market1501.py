"""Market-1501 (Zheng et al., ICCV 2015): 1,501 people before a supermarket, six cameras, boxes of a detector.

A name such as `0002_c1s1_000451_03.jpg` is person, camera and sequence, frame, box. Two persons are none: `0000` are
distractors, false alarms of the detector, and stay in the gallery as wrong answers, under identity 0; `-1` is junk,
boxes that cover somebody too badly to count as right or as wrong, which the benchmark removes before it ranks. So of
the 19,732 pictures in `bounding_box_test` the gallery keeps 15,913, the number that papers and torchreid give, and a
remark counts the rest. Both counts include the distractors. Who draws a gallery of N pictures per person draws N of all
distractors together: the benchmark's own protocol is the whole gallery.

`gt_bbox` holds hand-drawn boxes of everybody. In the multi-query variant the probes are those of each query's person
in that query's camera: whoever evaluates pools, by identity and camera, what a network makes of them.

Layout and counts: the readme of `Market-1501-v15.09.15.zip`; names as torchreid and fast-reid read them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from data.builders.builder import Builder
from data.builders.listing import Listing
from data.builders.parts import Part, folder, listing
from data.sources.tree import opened

EXPECTED = """\
Market-1501-v15.09.15/             folder or .zip
  bounding_box_train/
    0002_c1s1_000451_03.jpg ...    person_camera, sequence_frame_box
  bounding_box_test/
    -1_c1s1_000401_03.jpg ...      -1: junk, 0000: distractors
  query/
    0001_c1s1_001051_00.jpg ..."""

_NAME = re.compile(r"(?P<identity>-1|\d{4})_c(?P<camera>[1-6])s\d+_\d+_\d+")
_EXAMPLE = "0002_c1s1_000451_03.jpg"
_TRAIN = Part("train", "bounding_box_train", _NAME, _EXAMPLE, junk=-1)
_GALLERY = Part("gallery", "bounding_box_test", _NAME, _EXAMPLE, junk=-1)
_QUERY = Part("probe", "query", _NAME, _EXAMPLE)
_DRAWN = Part("probe", "gt_bbox", _NAME, _EXAMPLE, junk=-1)


class Market1501(Builder):
    """Market-1501, single query."""

    VERSION = "1.0.0"
    ABOUT = "Market-1501: 751 people for training, 750 for testing, six cameras; distractors kept, junk left out."
    EXPECTED = EXPECTED
    CITATION = "L. Zheng, L. Shen, L. Tian, S. Wang, J. Wang, Q. Tian: Scalable Person Re-identification, ICCV 2015."
    LICENCE = "For research; the pictures show real people in public. Read the authors' terms on the page."
    HOMEPAGE = "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html"
    PROBES = "whole"
    # 751 in the gallery: 750 people, and the distractors' identity 0.
    COUNTS: ClassVar[Mapping[str, Mapping[str, tuple[int, int]]]] = {
        "v15.09.15, with distractors, without junk": {
            "train": (12_936, 751),
            "probe": (3_368, 750),
            "gallery": (15_913, 751),
        }
    }

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, a folder or an archive."""
        return listing(opened(source, EXPECTED), [[_TRAIN, _QUERY, _GALLERY]], EXPECTED)


class Market1501MultiQuery(Builder):
    """Market-1501, multi-query: the hand-drawn boxes of each query's person and camera are the probes."""

    VERSION = "1.0.0"
    ABOUT = (
        "Market-1501, multi-query: the probes are the hand-drawn boxes of each query's person in the query's camera."
    )
    EXPECTED = EXPECTED + "\n  gt_bbox/\n    0001_c1s1_001051_00.jpg ..."
    CITATION = Market1501.CITATION
    LICENCE = Market1501.LICENCE
    HOMEPAGE = Market1501.HOMEPAGE
    PROBES = "whole"
    COUNTS: ClassVar[Mapping[str, Mapping[str, tuple[int, int]]]] = {
        version: {split: counts for split, counts in splits.items() if split != "probe"}
        for version, splits in Market1501.COUNTS.items()
    }

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`, of `gt_bbox` those that a query asks for."""
        tree = opened(source, cls.EXPECTED)
        asked = {
            (record.identity, record.camera)
            for record in listing(tree, [[_TRAIN, _QUERY, _GALLERY]], cls.EXPECTED).splits["probe"]
        }
        queries = set(folder(tree, tree.pictures, _QUERY.folder))  # used: they say who is asked for
        drawn = tree.only(lambda name: name not in queries)
        found = listing(drawn, [[_TRAIN, _DRAWN, _GALLERY]], cls.EXPECTED)
        probes = [record for record in found.splits["probe"] if (record.identity, record.camera) in asked]
        if not probes:
            raise tree.error(cls.EXPECTED, "has no picture in gt_bbox of a query's person and camera")
        remark = f"{len(probes):,} hand-drawn boxes stand for {len(asked):,} queries (person and camera)."
        splits = {**found.splits, "probe": probes}
        return dataclasses.replace(found, splits=splits, remarks=[*found.remarks, remark])
