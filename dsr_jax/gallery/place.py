"""The folder of a gallery on disk: whether it has a gallery, may get one, or has what a creation left unfinished."""

import contextlib
from pathlib import Path

LOCK = ".gallery.lock"
PARTS = {"data", "_versions", "_transactions", LOCK}  # of a gallery that is being created


def finished(folder: Path) -> bool:
    """Whether there is a version of a table."""
    return any(folder.glob("_versions/*.manifest"))


def check_new(folder: Path) -> None:
    """Raises ValueError unless a gallery can be made there: nothing is there, or one that was never finished."""
    where = f"folder {str(folder)!r}"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ValueError(f"{where} is a file: name another place for the gallery")
    if finished(folder):
        raise ValueError(f"{where} has a gallery already: Gallery.open it and add, or name another place")
    there = {path.name for path in folder.iterdir()}
    if there and (LOCK not in there or there - PARTS):
        raise ValueError(f"{where} is not empty ({', '.join(sorted(there)[:3])}): name a new place for the gallery")


def clear(folder: Path) -> None:
    """Removes what a creation left that was not finished."""
    if finished(folder):
        return
    for part, files in (("data", "*.lance"), ("_transactions", "*.txn"), ("_versions", "*")):
        for path in (folder / part).glob(files):
            path.unlink()
        with contextlib.suppress(OSError):
            (folder / part).rmdir()
