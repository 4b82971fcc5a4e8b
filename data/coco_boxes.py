"""People in whole pictures or video frames: boxes with identities in COCO's JSON, cut out while building.

The source is a folder or archive with `probe.json`, `gallery.json` and perhaps `train.json` (`query` is another word
for `probe`), in it or in its `annotations/`; or one JSON whose annotations, or images, have a `role`. Pictures are
found by their `file_name` beside the JSON or its parent, in `images/` or in a folder of the JSON's name.

    {"images": [{"id": 1, "file_name": "cam1/000001.jpg", "camera_id": 1}],
     "annotations": [{"id": 5, "image_id": 1, "bbox": [10, 20, 60, 180], "category_id": 1, "track_id": 7}],
     "categories": [{"id": 1, "name": "person"}]}

* **Who**: an annotation's `person_id` or `identity`, which is the same person everywhere; or its `track_id` or
  `instance_id` (CocoVID), also among its `attributes` (CVAT). Trackers count from new in every video: where a track
  number occurs in two videos (`video_id` of the images), `--source=PATH#tracks=same` says that it is one person and
  `#tracks=apart` that it is not; without it that is an error. -1 is nobody, whom no
  evaluation counts.
* **Which camera**: `camera_id` or `camera` of the image, or of its video; otherwise unknown.
* **Left out, and counted**: crowds (`iscrowd`), and categories other than person or pedestrian if there are such.

Boxes are rounded to pixels, cut at the picture's border and stored as PNG. Video files are not decoded: unpack them to
frames first (`ffmpeg -i a.mp4 a/%06d.jpg`) and name the frames.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from data import coco, options
from data.archive import is_archive
from data.builder import Builder
from data.coco import Box
from data.cropping import encoded
from data.folder import labels_of, numbered
from data.listing import Listing, Record
from data.source import NOBODY, SPLITS, UNKNOWN_CAMERA, decode
from data.tree import Tree, gathered, opened

EXPECTED = """\
people/                  folder or archive, of any name
  train.json             may be absent
  probe.json             (or query.json)
  gallery.json           COCO: images, annotations
  images/
    cam1/000001.jpg ...  file_name of the images
or people.json           with role in its annotations"""


class CocoBoxes(Builder):
    """Boxes with identities in COCO's JSON."""

    VERSION = "1.0.0"
    ABOUT = "People cut out of whole pictures or video frames by the boxes of a COCO JSON."
    EXPECTED = EXPECTED

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The boxes at `source`; option `tracks` is "same" or "apart" where track numbers repeat between videos."""
        place, asked = options.parted(source, {"tracks": "once"})
        tracks = options.choice(asked, "tracks", ("once", "same", "apart"))
        tree, documents = _documents(place)
        found = [coco.found(tree, name, document) for name, document in documents.items()]
        boxes = [box for one in found for box in one.boxes]
        if not boxes:
            raise tree.error(EXPECTED, "has no box of a person")
        labels = coco.people(boxes, tracks)
        identity_of = numbered(labels)
        camera_of = numbered([box.camera for box in boxes if box.camera]) | {"": UNKNOWN_CAMERA}
        frame = functools.lru_cache(maxsize=1)(functools.partial(_frame, tree))  # boxes of a frame follow each other
        splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
        for box, label in sorted(zip(boxes, labels, strict=True), key=lambda pair: _place(pair[0])):
            name = f"{box.frame}:{box.key}"
            if box.split == "train" and identity_of[label] == NOBODY:
                raise ValueError(f"{name}: a training box must show somebody, but its identity is {NOBODY}")
            read = functools.partial(_cut, frame, box)
            splits[box.split].append(Record(name, identity_of[label], camera_of[box.camera], read))
        return Listing(
            {split: records for split, records in splits.items() if records},
            tree.files([*documents, *(box.frame for box in boxes)]),
            settings=f"coco_boxes {cls.VERSION} tracks={tracks}",
            labels=labels_of(identity_of),
            remarks=[
                f"{count:,} annotations are {what}: left out."
                for what in found[0].left_out
                if (count := sum(one.left_out[what] for one in found))
            ],
        )


def _documents(place: Path | None) -> tuple[Tree, dict[str, dict[str, Any]]]:
    """The tree, and the parsed JSON files of it that count."""
    if place is not None and place.is_file() and not is_archive(place):
        document = coco.parsed(gathered(place.parent, [place.name]), place.name)
        named = [str(image.get("file_name")) for image in document["images"]]
        names = {candidate for name in named for candidate in coco.candidates(place.name, name)}
        return gathered(place.parent, [place.name, *names]), {place.name: document}
    tree = opened(place, EXPECTED)
    files = [name for name in tree.members if coco.role(name)]
    if not files:
        raise tree.error(EXPECTED, "has no train.json, probe.json or gallery.json")
    roles = [coco.role(name) for name in files]
    if len(set(roles)) < len(roles):
        raise ValueError(f"--source={place} has two files for a split among {', '.join(files)}: keep one each")
    return tree, {name: coco.parsed(tree, name) for name in files}


def _place(box: Box) -> tuple[str, int, str]:
    return box.frame, len(box.key), box.key  # numbers in order, whatever their length


def _frame(tree: Tree, name: str) -> np.ndarray:
    return decode(tree.read(name))


def _cut(frame: Any, box: Box) -> bytes:
    """The file of a box."""
    image = frame(box.frame)
    left, top, width, height = box.box
    rows = slice(max(0, round(top)), max(0, min(image.shape[0], round(top + height))))
    columns = slice(max(0, round(left)), max(0, min(image.shape[1], round(left + width))))
    part = image[rows, columns]
    if not part.size:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ValueError(f"the box {list(box.box)} lies outside its picture of {size} pixels, or is below a pixel")
    return encoded(part)
