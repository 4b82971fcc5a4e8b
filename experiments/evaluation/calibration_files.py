"""Calibration files in the workdir of an evaluation, one of every method and number of shots."""

from pathlib import Path
from typing import Any

from dsr_jax import calibration
from dsr_jax.calibration import Calibration

FOLDER = "calibration"


def path(folder: Path, key: str) -> Path:
    """The file of a result's calibration in a workdir."""
    return folder / FOLDER / f"{key.replace('/', '-')}.json"


def given(folder: str, key: str, wanted: dict[str, Any]) -> Calibration:
    """The calibration of an earlier run.

    Raises:
      ValueError: if it has none of that name, or one of another network or distance.
    """
    file = path(Path(folder), key)
    if not file.is_file():
        if Path(folder).name == FOLDER and not (Path(folder) / "config.json").exists():
            raise ValueError(f"calibration {folder} is a folder within a workdir: give the workdir, {file.parents[2]}")
        there = sorted(found.stem for found in file.parent.glob("*.json")) or ["none"]
        raise ValueError(
            f"calibration {folder} has no {file.name}, it has {', '.join(there)}: run `evaluate --calibrate=isotonic` "
            "there with the same --methods and --shots"
        )
    fitted = calibration.load(file)
    try:
        fitted.check(**wanted)
    except ValueError as error:
        raise ValueError(f"calibration {folder}, {key}: {error}") from error
    return fitted
