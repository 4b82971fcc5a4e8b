"""Market-1501 (Zheng et al., ICCV 2015): 1,501 people before a supermarket, six cameras, boxes of a detector.

A name such as `0002_c1s1_000451_03.jpg` is person, camera and sequence, frame, box. Two numbers are not people: `0000`
are distractors, false alarms of the detector, which stay in the gallery as wrong answers, under identity 0; `-1` is
junk, boxes that cover a person too badly to count as right or as wrong, which the benchmark removes before it ranks. So
of the 19,732 pictures in `bounding_box_test` the gallery has 15,913, the number in papers and torchreid, and a remark
counts the rest. Both counts include the distractors. A gallery of N pictures per person has N of all distractors
together: the benchmark's protocol is the whole gallery.

`gt_bbox` holds hand-drawn boxes of all people. In the multi-query variant the probes are the boxes of each query's
person in that query's camera; their features are to be pooled by identity and camera.

Layout and counts: the readme of `Market-1501-v15.09.15.zip`; names as torchreid and fast-reid read them.
"""

import dataclasses
import re
from pathlib import Path

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
    COUNTS = {
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


class Market1501MultiQuery(Market1501):
    """Market-1501, multi-query: the hand-drawn boxes of each query's person and camera are the probes."""

    ABOUT = (
        "Market-1501, multi-query: the probes are the hand-drawn boxes of each query's person in the query's camera."
    )
    EXPECTED = EXPECTED + "\n  gt_bbox/\n    0001_c1s1_001051_00.jpg ..."
    COUNTS = {
        version: {split: counts for split, counts in splits.items() if split != "probe"}
        for version, splits in Market1501.COUNTS.items()
    }

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures under `source`; of `gt_bbox` those of a query's person and camera."""
        tree = opened(source, cls.EXPECTED)
        single = listing(tree, [[_TRAIN, _QUERY, _GALLERY]], cls.EXPECTED)
        queries = {(record.identity, record.camera) for record in single.splits["probe"]}
        names = set(folder(tree, tree.pictures, _QUERY.folder))  # used, so that no remark counts them as unused
        drawn = listing(tree.only(lambda name: name not in names), [[_TRAIN, _DRAWN, _GALLERY]], cls.EXPECTED)
        probes = [record for record in drawn.splits["probe"] if (record.identity, record.camera) in queries]
        if not probes:
            raise tree.error(cls.EXPECTED, "has no picture in gt_bbox of a query's person and camera")
        remark = f"{len(probes):,} hand-drawn boxes stand for {len(queries):,} queries (person and camera)."
        splits = {**drawn.splits, "probe": probes}
        return dataclasses.replace(drawn, splits=splits, remarks=[*drawn.remarks, remark])
