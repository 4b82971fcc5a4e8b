"""People in whole pictures or video frames: boxes with identities in COCO's JSON, cut out while building.

The source is a folder or archive with `probe.json`, `gallery.json` and perhaps `train.json` (`query` is another word
for `probe`), in it or in its `annotations/`; or one JSON whose annotations, or images, have a `role`. Pictures are
found by their `file_name` beside the JSON or its parent, in `images/` or in a folder of the JSON's name.

    {"images": [{"id": 1, "file_name": "cam1/000001.jpg", "camera_id": 1}],
     "annotations": [{"id": 5, "image_id": 1, "bbox": [10, 20, 60, 180], "category_id": 1, "track_id": 7}],
     "categories": [{"id": 1, "name": "person"}]}

* **Who**: an annotation's `person_id` or `identity`, which is the same person everywhere; or its `track_id` or
  `instance_id` (CocoVID), which is one person in one video of one file. Both also among its `attributes` (CVAT). Where
  a track number occurs in two videos (`video_id` of the images) or files, `--source=PATH#tracks=same` says that it is
  one person, `#tracks=apart` that it is not, and `#tracks=named` that it is in videos of the same name; without it
  that is an error. -1 is nobody, whom no evaluation counts. How labels are read: `data.builders.labels`.
* **Which camera**: `camera_id` or `camera` of the annotation, of its image, or of its video; otherwise unknown.
* **In which frame**: pixels of a picture of the image's `width` and `height`, which must be the picture's. Whether it
  is turned by its EXIF orientation before, after or never, `#exif=` says where that cannot be known, see `frames`.
* **Left out, and counted**: crowds (`iscrowd`), boxes with `ignore` or the attribute `outside`, and categories other
  than person or pedestrian if there are such. Boxes with a rotation are refused: they are cut upright.

Boxes are rounded to pixels, cut at the picture's border and stored as PNG. Video files are not decoded: unpack them to
frames first (`ffmpeg -i a.mp4 a/%06d.jpg`) and name the frames.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.builders import coco, coco_file, coco_tracks, frames, labels
from data.builders.builder import Builder
from data.builders.coco import Box
from data.builders.cropping import encoded
from data.builders.frames import Frame
from data.builders.listing import Listing, Record
from data.source import NOBODY, SPLITS, decode
from data.sources import options, paths
from data.sources.archive import is_archive
from data.sources.tree import Tree, gathered, opened

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

    VERSION = "1.1.0"
    ABOUT = "People cut out of whole pictures or video frames by the boxes of a COCO JSON."
    EXPECTED = EXPECTED

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The boxes at `source`; options are `tracks`, see `coco_tracks.people`, and `exif`, see `frames.TURNS`."""
        place, asked = options.parted(source, {"tracks": "once", "exif": "ask"})
        tracks, turn = (
            options.choice(asked, "tracks", coco_tracks.WORDS),
            options.choice(asked, "exif", [*frames.TURNS]),
        )
        tree, documents = _documents(place)
        found = [coco.found(tree, name, document) for name, document in documents.items()]
        boxes = [box for one in found for box in one.boxes]
        if not boxes:
            raise tree.error(EXPECTED, "has no box of a person")
        boxes.sort(key=_place)  # boxes of a frame follow each other
        places = [f"annotation {box.key} of {box.document}" for box in boxes]
        people = labels.identities(coco_tracks.people(boxes, tracks), places)
        cameras = labels.cameras([box.camera for box in boxes], places)
        seen = frames.seen(tree, (box.frame for box in boxes))
        fit = frames.remarks(boxes, seen, turn)
        frame = functools.lru_cache(maxsize=1)(functools.partial(_frame, tree, seen, turn))
        splits: dict[str, list[Record]] = {split: [] for split in SPLITS}
        for box, identity, camera in zip(boxes, people.numbers, cameras.numbers, strict=True):
            name = f"{box.frame}:{box.key}"
            if box.split == "train" and identity == NOBODY:
                raise ValueError(f"{name}: a training box must show somebody, but its identity is {NOBODY}")
            turned = seen[box.frame].orientation if turn == "after" and box.frame in seen else 1
            splits[box.split].append(Record(name, identity, camera, functools.partial(_cut, frame, box, turned)))
        return Listing(
            {split: records for split, records in splits.items() if records},
            tree.files([*documents, *(box.frame for box in boxes)]),
            settings=f"coco_boxes {cls.VERSION} tracks={tracks} exif={turn}",
            labels=people.names,
            remarks=[
                *_left_out(found),
                *(line for name, document in documents.items() for line in coco_file.unread(name, document)),
                *[*coco_tracks.remarks(boxes, tracks), *people.remarks, *cameras.remarks, *fit],
            ],
        )


def _left_out(found: Sequence[coco.Found]) -> list[str]:
    counts = {what: sum(one.left_out[what] for one in found) for what in found[0].left_out}
    return [f"{count:,} annotations are {what}: left out." for what, count in counts.items() if count]


def _documents(place: Path | None) -> tuple[Tree, dict[str, dict[str, Any]]]:
    """The tree, and the parsed JSON files of it that count."""
    if place is not None and place.is_file() and not is_archive(place):
        document = coco_file.parsed(gathered(place.parent, [place.name]), place.name)
        named = [str(image.get("file_name")) for image in document["images"]]
        names = dict.fromkeys(candidate for name in named for candidate in coco.candidates(place.name, name))
        there = [found for name in names if (found := paths.on_disk(place.parent, name)) is not None]
        return gathered(place.parent, [place.name, *there]), {place.name: document}
    tree = opened(place, EXPECTED)
    files = [name for name in tree.members if coco.role(name)]
    if not files:
        raise tree.error(EXPECTED, "has no train.json, probe.json or gallery.json")
    roles = [coco.role(name) for name in files]
    if len(set(roles)) < len(roles):
        raise ValueError(f"--source={place} has two files for a split among {', '.join(files)}: keep one each")
    return tree, {name: coco_file.parsed(tree, name) for name in files}


def _place(box: Box) -> tuple[str, int, str]:
    return box.frame, len(box.key), box.key  # numbers in order, whatever their length


def _frame(tree: Tree, seen: Mapping[str, Frame], turn: str, name: str) -> np.ndarray:
    """A whole picture as boxes are cut out of it."""
    pixels = decode(tree.read(name))
    return frames.unturned(pixels, seen[name].orientation) if turn in ("after", "never") and name in seen else pixels


def _cut(frame: Any, box: Box, turned: int) -> bytes:
    """The file of a box, which is turned by an EXIF orientation after it was cut."""
    image = frame(box.frame)
    left, top, width, height = box.box
    rows = slice(max(0, round(top)), max(0, min(image.shape[0], round(top + height))))
    columns = slice(max(0, round(left)), max(0, min(image.shape[1], round(left + width))))
    part = image[rows, columns]
    if not part.size:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ValueError(f"the box {list(box.box)} lies outside its picture of {size} pixels, or is below a pixel")
    return encoded(frames.turned(part, turned))
