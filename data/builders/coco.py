"""Boxes of a parsed COCO document: identity, picture, camera and split of each annotation.

The rules are those of `coco_boxes`, which cuts the boxes out. Nothing here reads a picture. Every error names the file
and the annotation.
"""

import collections
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data.builders import coco_file, keys
from data.builders.coco_file import label
from data.builders.labels import plain, spelling
from data.builders.listing import SPLIT_OF
from data.source import SPLITS
from data.sources.paths import Names, written
from data.sources.tree import Tree, extension, is_picture

_PERSON = ("person", "pedestrian")
_EVERYWHERE, _TRACKS, _CAMERAS = ("person_id", "identity"), ("track_id", "instance_id"), ("camera_id", "camera")
_LARGEST = 1e9  # no picture has that many pixels along a side


class Box(NamedTuple):
    """An annotation that is used."""

    key: str  # its id
    split: str  # its split
    document: str  # the name of its JSON
    image: str  # the id of its image
    frame: str  # the name in the tree of that image's file
    box: tuple[float, float, float, float]  # left, top, width and height in pixels
    person: str  # label of its identity or track
    everywhere: bool  # whether that label is the same person in every video
    video: str | None  # name or id of the video of its image; None without `video_id`
    named: bool  # whether that is a name, which means the same video in every document
    camera: str  # label of its camera; empty where it is unknown
    # Width and height of the picture as stated in the document, None where they are not.
    size: tuple[int | None, int | None]


class Boxes(NamedTuple):
    """The boxes of a document in order, and the number of annotations left out for each reason."""

    boxes: list[Box]
    left_out: dict[str, int]


def role(name: str) -> str | None:
    """The split in a file's name, such as probe.json.

    Example:
      >>> role("annotations/Query.json"), role("people.json")
      ('probe', None)
    """
    base = name.rpartition("/")[2].lower()
    return SPLIT_OF.get(base.removesuffix(".json")) if base.endswith(".json") else None


def boxes_of(tree: Tree, document_name: str, document: dict[str, Any]) -> Boxes:
    """The boxes of a parsed document.

    Raises:
      ValueError: an annotation that cannot be used, or a picture that is not there.
    """
    title = f"{document_name} in {tree.place}"
    images, videos = (coco_file.by_id(document[key], f"{title}: {key}") for key in ("images", "videos"))
    names, video_names = Names(tree.members), _video_names(videos)
    categories = _categories(document["categories"], title)
    boxes, left_out = [], {"crowds": 0, "to be ignored": 0, "outside their picture": 0, "not people": 0}
    for key, entry in coco_file.by_id(document["annotations"], f"{title}: annotations").items():
        where = f"{title}: annotation {key}"
        if coco_file.flag(entry, "iscrowd", where):
            left_out["crowds"] += 1
            continue
        attributes = coco_file.attributes(entry)
        if any(coco_file.flag(holder, "ignore", where) for holder in (entry, attributes)):
            left_out["to be ignored"] += 1
            continue
        if coco_file.flag(attributes, "outside", where):
            left_out["outside their picture"] += 1
            continue
        if not _is_person(entry, categories, where):
            left_out["not people"] += 1
            continue
        if str(attributes.get("rotation")).strip() not in ("None", "", "0", "0.0"):
            turned = f"{where} has the rotation {attributes['rotation']}"
            raise ValueError(f"{turned}, and boxes are cut upright: export upright boxes")
        image_id = label(entry, "image_id", where)
        if image_id is None or image_id not in images:
            raise ValueError(f"{where} is of image {entry.get('image_id')!r}, which the file does not list")
        image = images[image_id]
        at = f"{title}: image {image_id}"
        video_id = label(image, "video_id", at)
        if videos and video_id is not None and video_id not in videos:
            raise ValueError(f"{at} is of video {video_id}, which the file does not list: add it, or leave videos out")
        video = videos.get(video_id or "", {})
        person, everywhere = _person(entry, where)
        if not everywhere and video_id is None and (near := _near(image, "images", "video")):
            raise ValueError(f"{at} has {near} and no video_id: rename it, since tracks count from new in every video")
        levels = [("annotations", entry), ("attributes", attributes), ("images", image)]
        video_name, named = (None, False) if video_id is None else video_names.get(video_id, (video_id, False))
        boxes.append(
            Box(
                key,
                _split(document_name, entry, image, where),
                document_name,
                image_id,
                _located(names, document_name, image, title),
                _rectangle(entry, where),
                person,
                everywhere,
                video_name,
                named,
                _camera([*levels, ("videos", video)], where),
                _size(image, video, at),
            )
        )
    return Boxes(boxes, left_out)


def _video_names(videos: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, bool]]:
    """Name of each video, by id, and True; its id and False where it has no name of its own."""
    names = {key: str(entry.get("name") or entry.get("file_name") or "").strip() for key, entry in videos.items()}
    times = collections.Counter(names.values())
    return {key: (name, True) if name and times[name] == 1 else (key, False) for key, name in names.items()}


def _categories(entries: Sequence[Mapping[str, Any]], title: str) -> dict[str, bool] | None:
    """Whether each category is people, by id; None where the file has no categories."""
    if not entries:
        return None
    listed = coco_file.by_id(entries, f"{title}: categories")
    people = {key: str(entry.get("name")).strip().lower() in _PERSON for key, entry in listed.items()}
    if not any(people.values()):
        names = ", ".join(str(entry.get("name")) for entry in entries[:8])
        raise ValueError(f"{title}: no category is called person or pedestrian, there are {names}: rename the one")
    return people


def _is_person(entry: Mapping[str, Any], categories: Mapping[str, bool] | None, where: str) -> bool:
    if categories is None:
        return True
    category = label(entry, "category_id", where)
    if category is None and all(categories.values()):
        return True
    if category is None or category not in categories:
        raise ValueError(
            f"{where} has the category_id {entry.get('category_id')!r}, which the file does not list: "
            f"there are {', '.join(categories)}"
        )
    return categories[category]


def _split(document_name: str, entry: Mapping[str, Any], image: Mapping[str, Any], where: str) -> str:
    """The split of a box: by its own `role`, its image's, or the name of the file."""
    roles = [str(holder["role"]).strip().lower() for holder in (entry, image) if holder.get("role") is not None]
    of_file = role(document_name)
    split = of_file or (SPLIT_OF.get(roles[0]) if roles else None)
    if split is None:
        near = keys.hint(["role"], dict.fromkeys([*entry, *image]))
        raise ValueError(f"{where} has no role among {', '.join(SPLITS)}, nor has its image: add it{near}")
    if of_file and roles and SPLIT_OF.get(roles[0]) != of_file:
        raise ValueError(
            f"{where} has the role {roles[0]}, and its file is called {of_file}: correct or delete the role"
        )
    return split


def candidates(document_name: str, file_name: str) -> list[str]:
    """Places of a picture, from most to least likely: beside the JSON, then beside its folder."""
    folder, _, base = document_name.rpartition("/")
    split = base.removesuffix(".json")
    roots = [folder, *([folder.rpartition("/")[0]] if folder else [])]
    inner = ("", "images", split, f"images/{split}")
    return [name for root in roots for part in inner for name in written(posixpath.join(root, part), file_name)]


def _located(names: Names, document_name: str, image: Mapping[str, Any], title: str) -> str:
    """The name in the tree of an image's file."""
    file_name = str(image.get("file_name") or "")
    if not file_name or (extension(file_name) and not is_picture(file_name)):
        raise ValueError(
            f"{title}: image {image['id']} has the file_name {file_name!r}, which is no picture; of a video, unpack "
            f"the frames first (ffmpeg -i a.mp4 a/%06d.jpg) and name them{_renamed(image) if not file_name else ''}"
        )
    plain = posixpath.normpath(file_name.replace("\\", "/"))
    if plain.startswith(("/", "../")):
        raise ValueError(f"{title}: image {image['id']} has the file_name {file_name!r}, which leaves the folder")
    place = names.first(candidates(document_name, file_name))
    if place is None:
        raise ValueError(f"{title}: {file_name} of image {image['id']} is not there, neither in images/: put it beside")
    return place


def _renamed(image: Mapping[str, Any]) -> str:
    near = _near(image, "images", "path")
    return f"; rename {near} to file_name" if near else ""


def _rectangle(entry: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    box = entry.get("bbox")
    sides = box if isinstance(box, list) and all(type(side) in (int, float) for side in box) else []
    if len(sides) != 4 or not all(-_LARGEST < side < _LARGEST for side in sides) or min(sides[2:]) <= 0:
        raise ValueError(f"{where} has the bbox {box!r}; left, top, width and height are needed, the last two positive")
    left, top, width, height = sides
    return left, top, width, height


def _size(image: Mapping[str, Any], video: Mapping[str, Any], at: str) -> tuple[int | None, int | None]:
    """Width and height of a picture, or of its video, as stated in the document."""
    holder = image if image.get("width") is not None or image.get("height") is not None else video
    return coco_file.length(holder, "width", at), coco_file.length(holder, "height", at)


def _person(entry: Mapping[str, Any], where: str) -> tuple[str, bool]:
    """Label of an annotation's person, and whether that is the same person in every video."""
    holders = [("annotations", entry), ("attributes", coco_file.attributes(entry))]
    for names, everywhere in ((_EVERYWHERE, True), (_TRACKS, False)):
        labels = [(name, person) for _, holder in holders for name in names if (person := label(holder, name, where))]
        if everywhere and len({spelling(person) for _, person in labels}) > 1:
            raise ValueError(
                f"{where} has the {labels[0][0]} {labels[0][1]} and the {labels[-1][0]} {labels[-1][1]}: correct one"
            )
        if labels:
            name, person = labels[0]
            return _checked(person, name, where), everywhere
        # A key that is nearly person_id must not give way to track_id without a word.
        near = [key for level, holder in holders if (key := _near(holder, level, "identity"))] if everywhere else []
        if near:
            raise ValueError(
                f"{where} has {near[0]} and no person_id: rename it to person_id, or, if it does not say who it is, "
                "to something else"
            )
    near = [key for level, holder in holders if (key := _near(holder, level, "track"))]
    rename = f"; rename {near[0]} to track_id" if near else ""
    raise ValueError(f"{where} says not who it is: add person_id, or track_id where people are tracked{rename}")


def _checked(person: str, name: str, where: str) -> str:
    """The label, if it can be one; once a track is named after its video, this is not checked any more."""
    try:
        plain(person)
    except ValueError as error:
        raise ValueError(f"{where}: the {name} {person} {error}") from error
    return person


def _camera(levels: Sequence[tuple[str, Mapping[str, Any]]], where: str) -> str:
    """The camera of an annotation: its own, its image's or its video's."""
    for name in _CAMERAS:
        labels = [camera for _, holder in levels if (camera := label(holder, name, where)) is not None]
        if len(set(map(spelling, labels))) > 1:
            raise ValueError(
                f"{where} has the {name} {labels[0]}, and its image or video {labels[-1]}: correct one of them"
            )
    for _, holder in levels:
        for name in _CAMERAS:
            if (camera := label(holder, name, where)) is not None:
                return camera
    for level, holder in levels:
        if near := _near(holder, level, "camera"):
            raise ValueError(
                f"{where}: {level} have {near} and no camera_id: rename it to camera_id, or, if it does not say which "
                "camera took the picture, to something else"
            )
    return ""


def _near(holder: Mapping[str, Any], level: str, meaning: str) -> str | None:
    """The first key that nearly means something and holds what could be a label."""
    return next((key for key in coco_file.scalars(holder, level) if keys.meaning(key) == meaning), None)
