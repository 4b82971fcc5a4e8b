"""Reader of protobuf's wire format: the fields of a message by number, without a schema and without its package.

A message is a sequence of fields, each a key (number and wire type) and a value: a whole number (varint), 4 or 8 bytes,
or a length and so many bytes, which are text, packed numbers, or a message again. Nothing is copied.
"""

import struct
from collections.abc import Iterator

VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5  # wire types; 3 and 4 are of groups, which nobody writes any more


class Message:
    """The fields of a message.

    Args:
      data: its bytes.

    Raises:
      ValueError: if the bytes are no message, or end within a field.

    Example:
      >>> message = Message(memoryview(bytes([0x08, 0x07, 0x12, 0x02, 0x68, 0x69])))
      >>> message.number(1), message.text(2), message.text(3)
      (7, 'hi', '')
    """

    def __init__(self, data: memoryview):
        self._fields: dict[int, list[tuple[int, int | memoryview]]] = {}
        for field, kind, value in _fields(data):
            self._fields.setdefault(field, []).append((kind, value))

    def __contains__(self, field: int) -> bool:
        """Whether the message has the field."""
        return field in self._fields

    def number(self, field: int, default: int = 0) -> int:
        """A whole number, the last one."""
        return self.numbers(field)[-1] if field in self else default

    def numbers(self, field: int) -> list[int]:
        """Whole numbers, packed or not, as signed ones of 64 bits."""
        found: list[int] = []
        for kind, value in self._of(field):
            if isinstance(value, int):
                found.append(_signed(value))
            elif kind == LENGTH:
                at = 0
                while at < len(value):
                    number, at = _varint(value, at)
                    found.append(_signed(number))
            else:
                raise ValueError(f"field {field} holds floating point, whole numbers are expected")
        return found

    def floats(self, field: int, letter: str) -> list[float]:
        """Floating point numbers, packed or not; ``letter``: "f" of 4 bytes, "d" of 8."""
        found: list[float] = []
        for _, value in self._of(field):
            data = self._bytes(field, value)
            if len(data) % struct.calcsize(letter):
                raise ValueError(f"field {field} holds {len(data)} bytes, no whole number of floating point numbers")
            found += struct.unpack(f"<{len(data) // struct.calcsize(letter)}{letter}", data)
        return found

    def bytes(self, field: int) -> memoryview:
        """Bytes, the last ones; empty if there are none."""
        values = self._of(field)
        return self._bytes(field, values[-1][1]) if values else memoryview(b"")

    def text(self, field: int) -> str:
        """Text; empty if there is none."""
        return str(self.bytes(field), "utf-8", "replace")

    def texts(self, field: int) -> list[str]:
        """All texts of a field."""
        return [str(self._bytes(field, value), "utf-8", "replace") for _, value in self._of(field)]

    def messages(self, field: int) -> "list[Message]":
        """All messages of a field."""
        return [Message(self._bytes(field, value)) for _, value in self._of(field)]

    def _of(self, field: int) -> list[tuple[int, int | memoryview]]:
        return self._fields.get(field, [])

    @staticmethod
    def _bytes(field: int, value: int | memoryview) -> memoryview:
        if isinstance(value, int):
            raise ValueError(f"field {field} holds a number, bytes are expected")
        return value


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Number, wire type and value of every field."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, kind = key >> 3, key & 7
        value: int | memoryview
        if kind == VARINT:
            value, at = _varint(data, at)
        elif kind in (EIGHT, FOUR, LENGTH):
            size, at = _varint(data, at) if kind == LENGTH else ({EIGHT: 8, FOUR: 4}[kind], at)
            if at + size > len(data):
                raise ValueError(f"a field of {size} bytes begins {len(data) - at} bytes before the end: it is cut off")
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"a field of the unknown wire type {kind}: it is damaged")
        if not field:
            raise ValueError("a field of the number 0: it is damaged")
        yield field, kind, value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that begins at a place, seven bits per byte, and the place behind it."""
    number = 0
    for count in range(10):
        if at + count >= len(data):
            raise ValueError("it is cut off within a number")
        byte = data[at + count]
        number |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return number, at + count + 1
    raise ValueError("a number of more than ten bytes: it is damaged")


def _signed(number: int) -> int:
    """The two's complement of 64 bits."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number
