"""What a COCO JSON says of people: boxes, who is in them, in which picture by which camera, and for which split.

The rules are those of `data.coco_boxes`, which cuts the boxes out. Nothing here reads a picture; every sentence about
what is wrong names the file and the annotation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data.listing import SPLIT_OF
from data.source import NOBODY, SPLITS
from data.tree import Tree, extension, is_picture

_PERSON = ("person", "pedestrian")
_EVERYWHERE, _TRACKS, _CAMERAS = ("person_id", "identity"), ("track_id", "instance_id"), ("camera_id", "camera")
_LARGEST = 1e9  # no picture has that many pixels along a side


class Box(NamedTuple):
    """An annotation that is used: `frame` is its picture's name in the tree, `box` left, top, width, height."""

    key: str
    split: str
    frame: str
    box: tuple[float, float, float, float]
    person: str
    video: str | None  # None where the identity does not depend on it
    camera: str


class Found(NamedTuple):
    """What a document holds: its boxes in order, and how many annotations were left out for what reason."""

    boxes: list[Box]
    left_out: dict[str, int]


def role(name: str) -> str | None:
    """The split that a file's name says: probe.json.

    Example:
      >>> role("annotations/Query.json"), role("people.json")
      ('probe', None)
    """
    base = name.rpartition("/")[2].lower()
    return SPLIT_OF.get(base.removesuffix(".json")) if base.endswith(".json") else None


def parsed(tree: Tree, name: str) -> dict[str, Any]:
    """A COCO document whose lists are there and hold objects."""
    handle = tree.handle(name)
    try:
        document = json.loads(handle.read_bytes() if isinstance(handle, Path) else handle.read())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} in {tree.place} is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise ValueError(f"{name} in {tree.place} is no COCO file: an object with images and annotations is expected")
    for key in ("images", "annotations", "categories", "videos"):
        entries = document.setdefault(key, [] if key in ("categories", "videos") else None)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{name} in {tree.place} is no COCO file: {key} must be a list of objects")
    return document


def found(tree: Tree, document_name: str, document: dict[str, Any]) -> Found:
    """The boxes of a parsed document.

    Args:
      tree: where its pictures are.
      document_name: its own name in the tree.
      document: as `parsed` gives it.

    Raises:
      ValueError: an annotation that cannot be used, or a picture that is not there.
    """
    title = f"{document_name} in {tree.place}"
    images, videos = (_by_id(document[key], f"{title}: {key}") for key in ("images", "videos"))
    people = _categories(document["categories"], title)
    boxes, left_out = [], {"crowds": 0, "not people": 0}
    for key, entry in _by_id(document["annotations"], f"{title}: annotations").items():
        where = f"{title}: annotation {key}"
        if entry.get("iscrowd"):
            left_out["crowds"] += 1
        elif people is not None and str(entry.get("category_id")) not in people:
            left_out["not people"] += 1
        else:
            image = images.get(str(entry.get("image_id")))
            if image is None:
                raise ValueError(f"{where} is of image {entry.get('image_id')!r}, which the file does not list")
            video = videos.get(str(image.get("video_id")), {})
            split = role(document_name) or SPLIT_OF.get(str(entry.get("role", image.get("role"))).lower())
            if split is None:
                raise ValueError(f"{where} has no role among {', '.join(SPLITS)}, nor has its image: add it")
            frame = _located(tree, document_name, image, title)
            person, everywhere = _person(entry, where)
            counted = None if everywhere or "video_id" not in image else str(video.get("name", image["video_id"]))
            camera = _first(image, _CAMERAS) or _first(video, _CAMERAS) or ""
            boxes.append(Box(key, split, frame, _rectangle(entry, where), person, counted, camera))
    return Found(boxes, left_out)


def _by_id(entries: Sequence[Mapping[str, Any]], what: str) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        if not isinstance(entry.get("id"), int | str):
            raise ValueError(f"{what} must have an id each, a number or a string: {json.dumps(entry)[:80]} has none")
        if str(entry["id"]) in found:
            raise ValueError(f"{what} have the id {entry['id']} twice")
        found[str(entry["id"])] = entry
    return found


def _categories(entries: Sequence[Mapping[str, Any]], title: str) -> set[str] | None:
    """The categories that are people; None where the file has no categories."""
    if not entries:
        return None
    people = {str(entry.get("id")) for entry in entries if str(entry.get("name")).lower() in _PERSON}
    if not people:
        names = ", ".join(str(entry.get("name")) for entry in entries[:8])
        raise ValueError(f"{title}: no category is called person or pedestrian, there are {names}: rename the one")
    return people


def candidates(document_name: str, file_name: str) -> list[str]:
    """Where a picture may lie, from most to least likely: beside the JSON, then beside its folder."""
    folder, _, base = document_name.rpartition("/")
    split = base.removesuffix(".json")
    roots = [
        f"{folder}/" if folder else "",
        *([folder.rpartition("/")[0] + "/" if "/" in folder else ""] if folder else []),
    ]
    return [f"{root}{inner}{file_name}" for root in roots for inner in ("", "images/", f"{split}/", f"images/{split}/")]


def _located(tree: Tree, document_name: str, image: Mapping[str, Any], title: str) -> str:
    """The name in the tree of an image's file."""
    file_name = str(image.get("file_name", "")).replace("\\", "/")
    if not file_name or (extension(file_name) and not is_picture(file_name)):
        raise ValueError(
            f"{title}: image {image['id']} has the file_name {file_name!r}, which is no picture; of a video, unpack "
            "the frames first (ffmpeg -i a.mp4 a/%06d.jpg) and name them"
        )
    if file_name.startswith("/") or ".." in file_name.split("/"):
        raise ValueError(f"{title}: image {image['id']} has the file_name {file_name!r}, which leaves the folder")
    for candidate in candidates(document_name, file_name):
        if candidate in tree.members:
            return candidate
    raise ValueError(f"{title}: {file_name} of image {image['id']} is not there, neither in images/: put it beside")


def _rectangle(entry: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    box = entry.get("bbox")
    sides = box if isinstance(box, list) and all(type(side) in (int, float) for side in box) else []
    if len(sides) != 4 or not all(-_LARGEST < side < _LARGEST for side in sides) or min(sides[2:]) <= 0:
        raise ValueError(f"{where} has the bbox {box!r}; left, top, width and height are needed, the last two positive")
    left, top, width, height = sides
    return left, top, width, height


def _person(entry: Mapping[str, Any], where: str) -> tuple[str, bool]:
    """Who an annotation shows, and whether that is the same person in every video."""
    attributes = entry.get("attributes")
    for holder in (entry, attributes if isinstance(attributes, dict) else {}):
        for keys, everywhere in ((_EVERYWHERE, True), (_TRACKS, False)):
            if (person := _first(holder, keys)) is not None:
                return person, everywhere
    raise ValueError(f"{where} says not who it is: add person_id, or track_id where people are tracked")


def _first(entry: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of the keys that the entry has, as a label."""
    values = (entry[key] for key in keys if entry.get(key) is not None)
    labels = (f"{value:g}" if isinstance(value, float) and value.is_integer() else value for value in values)
    return next((str(label).strip() for label in labels if isinstance(label, int | str) and str(label).strip()), None)


def people(boxes: Sequence[Box], tracks: str) -> list[str]:
    """Who each box shows, over all videos.

    Args:
      boxes: of all documents.
      tracks: "same" if a track number is one person in every video, "apart" if not, "once" if none is in two.

    Raises:
      ValueError: "once", but a number is in two videos.
    """
    if tracks == "apart":
        return [
            box.person if box.video is None or box.person == str(NOBODY) else f"{box.video}/{box.person}"
            for box in boxes
        ]
    video_of: dict[str, str] = {}
    for box in boxes if tracks == "once" else ():
        if box.video is not None and (first := video_of.setdefault(box.person, box.video)) != box.video:
            raise ValueError(
                f"track {box.person} is in video {first} and in video {box.video}: add #tracks=same to --source if "
                "it is the same person in both, or #tracks=apart if every video counts from new"
            )
    return [box.person for box in boxes]
