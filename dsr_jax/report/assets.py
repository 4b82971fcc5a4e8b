"""The files of a page: named by their content, and put into place together.

A reader of an older page, or a run that is killed, never sees a mixture: files of one name never change, and the page,
which names them, is replaced last.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from dsr_jax.formats import atomic

Files = dict[str, bytes]

_PICTURE_HEIGHT = 384  # pixels; twice the height shown, for dense screens
_KINDS = ("curves-*.svg", "distances-*.svg", "picture-*.jpg")


def store(files: Files, kind: str, suffix: str, content: bytes) -> str:
    """Adds a file named by its content, and returns the name.

    Example:
      >>> store({}, "curves", "svg", b"<svg/>")
      'curves-d4dc56669143.svg'
    """
    name = f"{kind}-{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
    files[name] = content
    return name


def picture(files: Files, image: ArrayLike) -> dict[str, object]:
    """Adds a picture as JPEG, made smaller if it is large, and returns its `file`, `width` and `height`.

    Raises:
      ValueError: if it is not (H, W, 3) uint8.
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(f"a picture is {pixels.shape} {pixels.dtype}; it must be (H, W, 3) uint8.")
    small = Image.fromarray(pixels)
    small.thumbnail((4 * _PICTURE_HEIGHT, _PICTURE_HEIGHT))
    content = jpeg(np.asarray(small))
    return {"file": store(files, "picture", "jpg", content), "width": small.width, "height": small.height}


def jpeg(pixels: np.ndarray) -> bytes:
    """A picture (H, W, 3) uint8 as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def replace(folder: Path, files: Mapping[str, bytes], page: str) -> Path:
    """Writes `index.html` and the files that it shows, the page last, and removes the files of an older page.

    Raises:
      OSError: if they cannot be written, naming the page and the reason; an older page then stays as it is.
    """
    atomic.write_together(folder, {**files, "index.html": page.encode(errors="backslashreplace")})
    for old in (path for kind in _KINDS for path in folder.glob(kind)):
        if old.name not in files:
            old.unlink()
    return folder / "index.html"
