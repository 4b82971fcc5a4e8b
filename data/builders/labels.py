"""Labels to numbers: identities and cameras as other tools write them.

A label is a whole number, which stays what it is, or a name; names get the numbers after the largest, in sorted order.
Whole floats are whole numbers, since pandas writes a column with a gap so: `-1.0`. Other signs for minus, blanks, marks
that cannot be seen, and the two ways to store an umlaut (NFC, NFD) change nothing. A gap (`nan`, `None`, empty) is
never a person or a camera. A number that is not whole, or has lost digits, is an error. All readers use this module.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from data.builders.listing import CAUTION
from data.source import NOBODY, UNKNOWN_CAMERA
from data.sources.tree import stem
from data.sources.wording import few

# What stands for "not known": pandas's list, and what databases and people write.
_MISSING = {
    *("", "nan", "-nan", "none", "null", "nil", "nat", "<na>", "n/a", "#n/a", "#na", "#n/a n/a", "<nan>", "<null>"),
    *("<none>", "unknown", "undefined", "missing", "?", "-", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}
_NO_NUMBER = {"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}
_BLANK = r"[\s\ufeff\u200b-\u200f\u2060\xad]+"  # blanks, byte-order mark, zero width, direction
_ENDS = re.compile(f"^{_BLANK}|{_BLANK}$")
_SIGNS = str.maketrans(
    dict.fromkeys("\N{MINUS SIGN}‐‑‒–—﹣－", "-") | {"＋": "+", "．": ".", "，": ","}  # noqa: RUF001
)
_NUMBER = re.compile(r"[+-]?(\d+(?P<point>\.)?\d*|(?P<bare>\.)\d+)(?P<exponent>e[+-]?\d{1,4})?", re.IGNORECASE)
_HEXADECIMAL = re.compile(r"\d+e\d+")  # such as 12e4, which may be a number with an exponent
_COMMAS = re.compile(r"[+-]?\d+(,\d+)+(\.\d*)?")
_CAMERA = re.compile(r"(?:^|[_\-. ])c(?:am(?:era)?)?(\d{1,9})(?=s\d|[_\-. ]|$)", re.IGNORECASE)
_LARGEST = 2**63 - 1  # what the data set stores
_EXACT = 2**53  # up to which floating point knows every whole number
_IN_FULL = 10**6  # below which no program leaves digits out in favour of an exponent
_SHOWN = 5
_CONSEQUENCE = "then nothing hides a probe's pictures by its own camera, and they count as right answers."


class Numbers(NamedTuple):
    """Numbers of labels, the name of each numbered label, and remarks."""

    numbers: list[int]
    names: dict[int, str]
    remarks: list[str]


def identities(labels: Sequence[str], places: Sequence[str]) -> Numbers:
    """The number of every identity; -1 is nobody.

    Args:
      labels: of the pictures, as written in the source.
      places: place of each in the source, for messages.

    Raises:
      ValueError: a label is missing, a number that is not whole, below -1, or of more than 64 bits.

    Example:
      >>> identities(["bob", "7.0", "-1", "bob"], ["line 2", "line 3", "line 4", "line 5"]).numbers
      [8, 7, -1, 8]
    """
    spelt = [spelling(label) for label in labels]
    if gaps := [i for i, label in enumerate(spelt) if is_missing(label)]:
        raise ValueError(
            f"the identity is missing in {_count(gaps, spelt)}, {_listed(gaps, labels, places)}: write {NOBODY} for "
            "nobody (junk), or leave them out; somebody of that name needs another spelling, such as person_nan"
        )
    read = _numbered("identity", "identities", spelt, places)
    if read.names and any(number not in read.names and number != NOBODY for number in read.numbers):
        some = ", ".join(sorted(read.names.values())[:5])
        read.remarks.append(f"{CAUTION}identities are numbers and names; is each of these somebody of its own? {some}")
    return read


def cameras(labels: Sequence[str], places: Sequence[str]) -> Numbers:
    """The number of every camera; -1, or a label that is missing, is unknown.

    Raises:
      ValueError: as for `identities`, except that labels may be missing.

    Example:
      >>> cameras(["door", "nan"], ["line 2", "line 3"]).numbers
      [0, -1]
    """
    spelt = [spelling(label) for label in labels]
    gaps = [i for i, label in enumerate(spelt) if is_missing(label)]
    filled = [i for i, label in enumerate(spelt) if not is_missing(label)]
    present = [spelt[i] for i in filled], [places[i] for i in filled]
    read = _numbered("camera", "cameras", *present)
    _check_one_kind(read, *present)
    numbers = [UNKNOWN_CAMERA] * len(spelt)
    for i, number in zip(filled, read.numbers, strict=True):
        numbers[i] = number
    remarks = list(read.remarks)
    if gaps and filled:
        where = f"{_count(gaps, spelt)}, {_listed(gaps, labels, places)}"
        remarks.append(f"{CAUTION}the camera is unknown in {where}: {_CONSEQUENCE}")
    elif gaps:
        remarks.append(f"No camera is known: {_CONSEQUENCE}")
    return Numbers(numbers, read.names, remarks)


def camera_of(name: str) -> int:
    """The camera in a picture's name; -1 where there is none, or more than one.

    Example:
      >>> [camera_of(name) for name in ("0001_c2s1_000451_03.jpg", "camera3-a.png", "c1_c2.jpg", "abc12.jpg")]
      [2, 3, -1, -1]
    """
    cameras = {int(number) for number in _CAMERA.findall(stem(name))}
    return cameras.pop() if len(cameras) == 1 else UNKNOWN_CAMERA


def _check_one_kind(read: Numbers, spelt: Sequence[str], places: Sequence[str]) -> None:
    """Raises ValueError for cameras of which some are numbers and some names: `cam1` and `1` may well be one."""
    named = next((i for i, number in enumerate(read.numbers) if number in read.names), None)
    plain = next((i for i, n in enumerate(read.numbers) if n not in read.names and n != UNKNOWN_CAMERA), None)
    if named is not None and plain is not None:
        raise ValueError(
            f"cameras are numbers and names: {spelt[plain]} ({places[plain]}) and {spelt[named]} ({places[named]}), "
            "which may be one: write all of them as numbers, or all as names"
        )


def spelling(label: str) -> str:
    r"""A label as it is compared: composed (NFC), with single blanks, without marks at its ends that cannot be seen.

    Example:
      >>> spelling("\ufeff  Ann \xa0 Lee ")
      'Ann Lee'
    """
    return " ".join(_ENDS.sub("", unicodedata.normalize("NFC", label)).split())


def whole(label: str) -> int | None:
    """The whole number that a label is; None for one that is no number.

    Raises:
      ValueError: a number that is not whole, or has lost digits, or is below -1 or beyond 64 bits.

    Example:
      >>> [whole(label) for label in ("0007", "-1.0", "\N{MINUS SIGN}1", "1e3", "bob", "a1")]
      [7, -1, -1, 1000, None, None]
    """
    text = spelling(label).translate(_SIGNS)
    match = _NUMBER.fullmatch(text)
    if text.lower() in _NO_NUMBER or _COMMAS.fullmatch(text):
        raise ValueError("is a number, but not a whole one without commas")
    if match is None:
        return None
    number = Decimal(text)
    if number.adjusted() > 20:
        raise ValueError(f"is beyond {_LARGEST}, the largest number")
    if number != number.to_integral_value():
        raise ValueError("is a number, but not a whole one")
    is_float = bool(match["point"] or match["bare"] or match["exponent"])
    exponent = number.as_tuple().exponent
    abbreviated = isinstance(exponent, int) and exponent > 0 and abs(number) >= _IN_FULL
    if abbreviated or (is_float and abs(number) > _EXACT):
        raise ValueError("has lost its last digits, as floating point and spreadsheets shorten long numbers")
    if number < NOBODY:
        raise ValueError(f"must be at least {NOBODY} ({NOBODY}: nobody, unknown)")
    if number > _LARGEST:
        raise ValueError(f"is beyond {_LARGEST}, the largest number")
    return int(number)


def plain(label: str) -> str:
    """The canonical spelling of a label.

    Example:
      >>> plain("0007.0"), plain(" bob "), plain("12e4")
      ('7', 'bob', '12e4')
    """
    spelt = spelling(label)
    number = None if _HEXADECIMAL.fullmatch(spelt) else whole(spelt)
    return spelt if number is None else str(number)


def is_missing(label: str) -> bool:
    """Whether a label stands for a missing value.

    Example:
      >>> [is_missing(label) for label in ("nan", "", "<NA>", "NA", "na", "-1")]
      [True, True, True, True, False, False]
    """
    spelt = spelling(label)
    return spelt.casefold() in _MISSING or spelt == "NA"


def _numbered(noun: str, plural: str, spelt: Sequence[str], places: Sequence[str]) -> Numbers:
    """The number of every label, none of which is missing."""
    place_of = dict(zip(reversed(spelt), reversed(places), strict=True))  # of each label, the first place
    number_of: dict[str, int] = {}
    names = {label for label in place_of if not _NUMBER.fullmatch(label.translate(_SIGNS))}
    for label, place in place_of.items():
        if names and _HEXADECIMAL.fullmatch(label):  # 12e4 among names: one of them, as in hexadecimal
            continue
        try:
            number = whole(label)
        except ValueError as error:
            remedy = "write whole numbers, or names that are no numbers, such as p1.5"
            raise ValueError(f"{place}: the {noun} {label[:60]} {error}; {remedy}") from error
        if number is not None:
            number_of[label] = number
    named = sorted(label for label in place_of if label not in number_of)
    start = max(number_of.values(), default=-1) + 1
    if named and start + len(named) - 1 > _LARGEST:
        raise ValueError(f"the {noun} {start - 1} leaves no numbers for names, such as {named[0]}: write a smaller one")
    numbers = number_of | {label: n for n, label in enumerate(named, start)}
    remarks = [*_written_twice(noun, number_of), *_alike(plural, named)]
    return Numbers([numbers[label] for label in spelt], {numbers[label]: label for label in named}, remarks)


def _written_twice(noun: str, number_of: Mapping[str, int]) -> list[str]:
    """A remark on numbers written in more than one way, such as 0001 and 1."""
    ways: dict[int, list[str]] = {}
    for label, number in sorted(number_of.items()):
        ways.setdefault(number, []).append(label)
    twice = [f"{' and '.join(labels)} as {noun} {number}" for number, labels in ways.items() if len(labels) > 1]
    return [f"{CAUTION}numbers written in several ways are one: {few(twice, _SHOWN)}."] if twice else []


def _alike(plural: str, names: Iterable[str]) -> list[str]:
    """A remark on names that differ only in upper and lower case."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.casefold(), []).append(name)
    alike = [" and ".join(group) for group in groups.values() if len(group) > 1]
    some = few(alike, _SHOWN)
    return [f"{CAUTION}{plural} that differ only in upper and lower case are different: {some}."] if alike else []


def _count(positions: Sequence[int], everything: Sequence[str]) -> str:
    return f"{len(positions):,} of {len(everything):,}"


def _listed(positions: Sequence[int], labels: Sequence[str], places: Sequence[str]) -> str:
    return few([f"{places[i]} ({spelling(labels[i]) or 'empty'})" for i in positions], _SHOWN)
