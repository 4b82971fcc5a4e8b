"""Sources as people have them: the same files as a folder, a zip, a tar and a tar.gz."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

FORMS = ["folder", "zip", "tar", "tgz", "zip in a folder"]


def picture(value: int, *, size: tuple[int, int] = (6, 12), form: str = "PNG") -> bytes:
    """The file of a picture of one grey, (width, height) pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, value, value)).save(buffer, form)
    return buffer.getvalue()


def source(place: Path, files: Mapping[str, bytes], form: str) -> Path:
    """Writes the files in a form of `FORMS`; what to give as --source."""
    place.mkdir(parents=True, exist_ok=True)
    if form == "folder":
        for name, content in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        return place
    if form.startswith("zip"):
        with zipfile.ZipFile(place / "Set.ZIP", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return place / "Set.ZIP" if form == "zip" else place
    path = place / ("set.tar" if form == "tar" else "set.tgz")
    with tarfile.open(path, "w:gz" if form == "tgz" else "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
