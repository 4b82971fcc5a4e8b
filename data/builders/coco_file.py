"""COCO JSON reader: lists that must be there, entries by id, values as labels, remarks on keys that are not read.

Converters write numbers as strings, ids as floats and booleans as 0 and 1: what can mean one thing only is read. Any
other value, and a repeated key, is an error that names the entry.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data.builders import keys
from data.sources.tree import Tree

# Keys by level: those that are read, then those that COCO, CocoVID, MOT and CVAT have besides.
READ = {
    "document": ("images", "annotations", "categories", "videos"),
    "images": ("id", "file_name", "width", "height", "video_id", "camera_id", "camera", "role"),
    "videos": ("id", "name", "file_name", "width", "height", "camera_id", "camera"),
    "annotations": (
        *("id", "image_id", "category_id", "bbox", "iscrowd", "person_id", "identity", "track_id", "instance_id"),
        *("camera_id", "camera", "role", "attributes"),
    ),
    "attributes": ("person_id", "identity", "track_id", "instance_id", "camera_id", "camera"),
}
_STANDARD = {
    "document": {"info", "licenses", "license", "type"},
    "images": {
        *("license", "flickr_url", "coco_url", "date_captured", "frame_id", "mot_frame_id", "prev_image_id"),
        *("next_image_id", "frame_index", "is_vid_train_frame"),
    },
    "videos": {"license", "date_captured", "fps", "length", "frame_rate"},
    "annotations": {
        *("segmentation", "area", "keypoints", "num_keypoints", "score", "ignore", "visibility", "video_id"),
        *("mot_frame_id", "frame_id", "mot_instance_id", "mot_class_id", "conf", "official_id"),
    },
    "attributes": {"occluded", "rotation", "keyframe", "outside", "truncated"},
}
_TRUE, _FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "", "none", "null")
_EXACT = 2**53  # up to which floating point knows every whole number


def parsed(tree: Tree, name: str) -> dict[str, Any]:
    """A COCO document; its lists are there and hold objects."""
    handle = tree.handle(name)
    content = handle.read_bytes() if isinstance(handle, Path) else handle.read()
    try:
        document = json.loads(content, object_pairs_hook=_without_repeats)
    except _Repeated as error:
        raise ValueError(f"{name} in {tree.place} has an object with the key {error} twice: keep one") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} in {tree.place} is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise ValueError(f"{name} in {tree.place} is no COCO file: an object with images and annotations is expected")
    lists = [key for key, value in document.items() if key not in READ["document"] and isinstance(value, list)]
    for key in READ["document"]:
        near = [other for other in lists if key not in document and _is_near(other, key)]
        if near:
            raise ValueError(f"{name} in {tree.place} has {near[0]} and no {key}: rename it to {key}")
        entries = document.setdefault(key, [] if key in ("categories", "videos") else None)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{name} in {tree.place} is no COCO file: {key} must be a list of objects")
    return document


class _Repeated(ValueError):
    """A key that an object has twice."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Repeated(next(name for name in names if names.count(name) > 1))
    return unique


def _is_near(other: str, key: str) -> bool:
    one = {"categories": "category"}.get(key, key[:-1])
    return other.lower().strip("_- ") in (key, one) or (key == "videos" and keys.meaning(other) == "video")


def by_id(entries: Sequence[Mapping[str, Any]], what: str) -> dict[str, Mapping[str, Any]]:
    """The entries by their ids."""
    by_label: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        name = label(entry, "id", what)
        if name is None:
            raise ValueError(f"{what} must have an id each, a number or a string: {json.dumps(entry)[:80]} has none")
        if name in by_label:
            raise ValueError(f"{what} have the id {name} twice")
        by_label[name] = entry
    return by_label


def label(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    """A value that is a number or a string, as a label; None where it is absent, null or blank.

    Raises:
      ValueError: it is anything else, such as a list, true, or a number that is not whole.

    Example:
      >>> [label({"id": value}, "id", "image 1") for value in (7, 7.0, " a ", None)]
      ['7', '7', 'a', None]
    """
    value = entry.get(key)
    if isinstance(value, float) and value == value and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if isinstance(value, float) and value != value:
        return "nan"
    if value is None or (isinstance(value, int | str) and not isinstance(value, bool)):
        return None if value is None else str(value).strip() or None
    raise ValueError(f"{where} has the {key} {json.dumps(value)[:80]}: a whole number or a string is needed")


def flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    """A value that is yes or no: 0, 1, false, true, also as strings; no where it is absent.

    Raises:
      ValueError: it is anything else.

    Example:
      >>> [flag({"iscrowd": value}, "iscrowd", "annotation 1") for value in (1, "0", "true", False, None)]
      [True, False, True, False, False]
    """
    text = str(entry.get(key)).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError(f"{where} has the {key} {entry[key]!r}: 0 or 1 is needed")
    return text in _TRUE


def length(entry: Mapping[str, Any], key: str, where: str) -> int | None:
    """A number of pixels, also as a string; None where it is absent, null, or 0 as some converters fill it in.

    Raises:
      ValueError: it is no such number.

    Example:
      >>> [length({"width": value}, "width", "image 1") for value in (640, "640", 640.0, 0, None)]
      [640, 640, 640, None, None]
    """
    text = label(entry, key, where)
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{where} has the {key} {entry[key]!r}: a whole number of pixels is needed")
    return int(text) or None if text is not None else None


def attributes(annotation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The attributes of an annotation, as CVAT writes them."""
    value = annotation.get("attributes")
    return value if isinstance(value, dict) else {}


def scalars(entry: Mapping[str, Any], level: str) -> list[str]:
    """The keys of an entry that are not read and whose values could be labels."""
    return [
        key
        for key, value in entry.items()
        if key not in READ[level] and isinstance(value, int | float | str) and not isinstance(value, bool)
    ]


def unread(title: str, document: Mapping[str, Any]) -> list[str]:
    """A remark per level on the keys that are neither read nor standard in COCO."""
    levels: dict[str, Iterable[Mapping[str, Any]]] = {"document": [document]}
    levels |= {level: document[level] for level in ("images", "videos", "annotations")}
    levels["attributes"] = map(attributes, document["annotations"])
    remarks = []
    for level, entries in levels.items():
        names = dict.fromkeys(key for entry in entries for key in entry)
        others = [key for key in names if key not in READ[level] and key not in _STANDARD[level]]
        remarks += keys.unread(f"keys of {'the ' * (level == 'document')}{level} in {title}", others, READ[level])
    return remarks
