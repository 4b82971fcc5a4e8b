"""Uploads: bytes of a request up to a limit, and the picture in them, looked at before it is decoded.

What is too large is cut off while it comes; nothing is written to the disk. Of the formats only those are taken that
phones, cameras and browsers give, and by the first bytes, whatever the name or the type says.
"""

import asyncio
import re

import numpy as np
from starlette.requests import ClientDisconnect, Request

from data.sources import decoding, signatures
from experiments.settings.webpage import MEGA, Limits
from experiments.webpage.refusal import Refused

FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "BMP": "image/bmp"}
SCANS, SEGMENTS = 100, 200  # of a JPEG file at most; each costs time, and takes few bytes
SHARE = 3  # of the time of a request one part is for its upload

_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")  # those that a length follows, and the end
_SCAN, _END = b"\xda", b"\xd9"


class Uploads:
    """The uploads that are being read."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._open = limits, 0

    async def read(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
          Refused: for one that is packed, too large, too slow or empty, and where too many others are being read.
        """
        most = self._limits.bytes
        too_large = Refused(
            413, f"The file is larger than {most // MEGA} MB: make the picture smaller, or cut out the part."
        )
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "The file comes packed (Content-Encoding): send the picture as it is.")
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most:
            raise too_large
        if self._open >= self._limits.uploads:
            raise Refused(503, "Too many pictures are being sent at once: try again in some seconds.", again=2)
        self._open += 1
        try:
            content = bytearray()
            async with asyncio.timeout(self._limits.seconds / SHARE):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > most:
                        raise too_large
        except TimeoutError:
            raise Refused(408, "The picture came too slowly: try again, or make it smaller.") from None
        except ClientDisconnect:
            raise Refused(400, "The picture did not come to its end: try again.") from None
        finally:
            self._open -= 1
        if not content:
            raise Refused(400, "There is no picture: choose one.")
        return bytes(content)


def picture(content: bytes, limits: Limits) -> np.ndarray:
    """The pixels of an uploaded picture, (H, W, 3) uint8, upright.

    Raises:
      Refused: for another format, too many pixels, a damaged file, and a JPEG file of too many parts.
    """
    form = signatures.form_of(content[: signatures.HEAD])
    if form not in FORMATS:
        kind = f"is {form}" if form else "is no picture that is known here"
        raise Refused(415, f"The file {kind}: take a JPEG, PNG, WebP or BMP picture.")
    if form == "JPEG":
        _check_parts(content)
    try:
        height, width = decoding.upright_size(content)
        if height * width > limits.pixels:
            raise Refused(
                413,
                f"The picture has {width} x {height} pixels, more than {limits.pixels // MEGA} million: make it "
                "smaller, or cut out the part.",
            )
        return decoding.decode(content)
    except ValueError as error:
        if "too large" in str(error):
            raise Refused(413, f"The picture is {error}: make it smaller, or cut out the part.") from error
        raise Refused(422, f"The picture cannot be read ({error}): save it again as JPEG or PNG.") from error


def _check_parts(content: bytes) -> None:
    """Raises Refused for a JPEG file whose scans or segments would take minutes."""
    at, scans, segments = 2, 0, 0
    while (found := _MARKER.search(content, at)) and found[1] != _END:
        scans, segments = scans + (found[1] == _SCAN), segments + (found[1] != _SCAN)
        if scans > SCANS or segments > SEGMENTS:
            raise Refused(422, "The picture has far more parts than cameras write: save it again as JPEG or PNG.")
        at = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2]))
