"""Signatures of picture files: the form of a file by its first bytes.

Only signatures that no text has by accident are listed. HEIF (.heic, of phones) and JPEG XL are not decoded here: they
are listed so that they can be named.
"""

import re

HEAD = 32  # bytes that are enough
UNREAD = ("HEIF", "JPEG XL")  # of the forms below, those that `data.sources.decoding` does not read

_FORMS = (
    ("JPEG", rb"\xff\xd8\xff"),
    ("PNG", rb"\x89PNG\r\n\x1a\n"),
    ("GIF", rb"GIF8[79]a"),
    ("BMP", rb"BM....\0\0\0\0"),
    ("TIFF", rb"II[*+]\0|MM\0[*+]"),
    ("WEBP", rb"RIFF....WEBP"),
    ("PPM", rb"P[1-6]\s+[#0-9]"),
    ("AVIF", rb"....ftypavi[fs]"),
    ("JPEG2000", rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"),
    ("HEIF", rb"....ftyp(hei|hev|mif1|msf1)"),
    ("JPEG XL", rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
)
_PATTERNS = [(form, re.compile(pattern, re.DOTALL)) for form, pattern in _FORMS]


def form_of(head: bytes) -> str:
    """The form of picture of a file with these first bytes; empty if it has no known one.

    Example:
      >>> form_of(b"GIF89a"), form_of(b"P5 64 128 255 "), form_of(b"Please read me")
      ('GIF', 'PPM', '')
    """
    return next((form for form, pattern in _PATTERNS if pattern.match(head)), "")
