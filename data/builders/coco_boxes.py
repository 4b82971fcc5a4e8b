"""Data set of boxes with identities in COCO's JSON, cut out of whole pictures or video frames while building.

    {"images": [{"id": 1, "file_name": "cam1/000001.jpg", "camera_id": 1}],
     "annotations": [{"id": 5, "image_id": 1, "bbox": [10, 20, 60, 180], "category_id": 1, "track_id": 7}],
     "categories": [{"id": 1, "name": "person"}]}

The rules are in docs/data.md, section coco_boxes. `coco_file` parses the documents, `coco` makes boxes of annotations,
`coco_tracks` identities of tracks, `frames` checks the pictures. Boxes are rounded to pixels, cut at the picture's
border and stored as PNG.
"""

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
from data.builders.listing import Listing, Record, by_split, check_shown
from data.source import decode
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
        place, chosen = options.parted(source, {"tracks": "once", "exif": "ask"})
        tracks = options.choice(chosen, "tracks", coco_tracks.WORDS)
        turn = options.choice(chosen, "exif", [*frames.TURNS])
        tree, documents = _documents(place)
        parsed = [coco.boxes_of(tree, name, document) for name, document in documents.items()]
        boxes = [box for one in parsed for box in one.boxes]
        if not boxes:
            raise tree.error(EXPECTED, "has no box of a person")
        boxes.sort(key=_order)  # boxes of a frame follow each other
        places = [f"annotation {box.key} of {box.document}" for box in boxes]
        people = labels.identities(coco_tracks.people(boxes, tracks), places)
        cameras = labels.cameras([box.camera for box in boxes], places)
        whole = frames.read(tree, (box.frame for box in boxes))
        fit = frames.remarks(boxes, whole, turn)
        frame = functools.lru_cache(maxsize=1)(functools.partial(_frame, tree, whole, turn))
        records = []
        for box, identity, camera in zip(boxes, people.numbers, cameras.numbers, strict=True):
            name = f"{box.frame}:{box.key}"
            check_shown(box.split, identity, name)
            turned = whole[box.frame].orientation if turn == "after" and box.frame in whole else 1
            records.append((box.split, Record(name, identity, camera, functools.partial(_cut, frame, box, turned))))
        return Listing(
            by_split(records),
            tree.files([*documents, *(box.frame for box in boxes)]),
            settings=f"coco_boxes {cls.VERSION} tracks={tracks} exif={turn}",
            labels=people.names,
            remarks=[
                *_left_out(parsed),
                *(line for name, document in documents.items() for line in coco_file.unread(name, document)),
                *[*coco_tracks.remarks(boxes, tracks), *people.remarks, *cameras.remarks, *fit],
            ],
        )


def _left_out(parsed: Sequence[coco.Boxes]) -> list[str]:
    counts = {what: sum(one.left_out[what] for one in parsed) for what in parsed[0].left_out}
    return [f"{count:,} annotations are {what}: left out." for what, count in counts.items() if count]


def _documents(place: Path | None) -> tuple[Tree, dict[str, dict[str, Any]]]:
    """The tree, and its parsed JSON files of annotations."""
    if place is not None and place.is_file() and not is_archive(place):
        document = coco_file.parsed(gathered(place.parent, [place.name]), place.name)
        names = [str(image.get("file_name")) for image in document["images"]]
        candidates = dict.fromkeys(place_of for name in names for place_of in coco.candidates(place.name, name))
        there = [path for name in candidates if (path := paths.on_disk(place.parent, name)) is not None]
        return gathered(place.parent, [place.name, *there]), {place.name: document}
    tree = opened(place, EXPECTED)
    files = [name for name in tree.members if coco.role(name)]
    if not files:
        raise tree.error(EXPECTED, "has no train.json, probe.json or gallery.json")
    roles = [coco.role(name) for name in files]
    if len(set(roles)) < len(roles):
        raise ValueError(f"--source={place} has two files for a split among {', '.join(files)}: keep one each")
    return tree, {name: coco_file.parsed(tree, name) for name in files}


def _order(box: Box) -> tuple[str, int, str]:
    return box.frame, len(box.key), box.key  # numbers in order, whatever their length


def _frame(tree: Tree, whole: Mapping[str, Frame], turn: str, name: str) -> np.ndarray:
    """A whole picture as stored or upright, whichever its boxes are of."""
    pixels = decode(tree.read(name))
    return frames.unturned(pixels, whole[name].orientation) if turn in ("after", "never") and name in whole else pixels


def _cut(frame: Any, box: Box, turned: int) -> bytes:
    """PNG file of a box, turned by an EXIF orientation after it is cut."""
    image = frame(box.frame)
    left, top, width, height = box.box
    rows = slice(max(0, round(top)), max(0, min(image.shape[0], round(top + height))))
    columns = slice(max(0, round(left)), max(0, min(image.shape[1], round(left + width))))
    part = image[rows, columns]
    if not part.size:
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise ValueError(f"the box {list(box.box)} lies outside its picture of {size} pixels, or is below a pixel")
    return encoded(frames.turned(part, turned))
