"""Store of distances on disk: a stopped evaluation goes on, another method is added to a finished one.

One file per network, method and number of shots, in `distances/` of the workdir. It holds, for trial i of the draws,
`distances_i` (probes, entries) with `probes_i`, numbers of the probes, `identities_i` of the entries and `images_i`,
the entries' gallery images one after the other, so that anybody can compute further figures from it.
"""

import hashlib
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.source import UNKNOWN_CAMERA
from dsr_jax.evaluation import protocols
from dsr_jax.formats import atomic
from dsr_jax.parallel import hosts
from experiments.evaluation import features
from experiments.evaluation.pictures import Images
from experiments.workdir import Workdir

# What NumPy raises at a file that is cut off, changed or something else.
_DAMAGED = (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error)
VERSION = 4  # raised whenever a method comes to compute something else


def read(workdir: Path, key: str) -> tuple[list[protocols.Trial], list[np.ndarray]]:
    """Draws and distances of a method in the workdir of a finished evaluation, numbers of shots alone.

    Of a draw's images only their order is known: they are one array.

    Raises:
      ValueError: if the file is not there, or is not what an evaluation writes.
    """
    path = _place(workdir / "distances", key)
    trials: list[protocols.Trial] = []
    distances: list[np.ndarray] = []
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            for i in range(int(file["trials"])):
                probes, identities, images = (file[f"{name}_{i}"] for name in ("probes", "identities", "images"))
                number = sum(bool(np.isin(probes, former.probes).any()) for former in trials)  # once per trial
                draw = protocols.Draw(identities, (images,))
                trials.append(protocols.Trial(number, UNKNOWN_CAMERA, probes, draw, "any"))
                distances.append(file[f"distances_{i}"])
    except FileNotFoundError:
        raise ValueError(
            f"{path} is not there: evaluate again in that workdir, which computes what is missing"
        ) from None
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not what an evaluation writes ({error!r}): remove it, and evaluate again in that workdir"
        ) from error
    return trials, distances


class Store:
    """Distances of one network in a workdir.

    Args:
      inputs: `digest` of everything that decides distances: what came of something else is computed anew.
    """

    def __init__(self, workdir: Workdir, inputs: str):
        self._workdir, self._folder, self._inputs = workdir, workdir.path / "distances", inputs

    def get(
        self, key: str, trials: Sequence[protocols.Trial], compute: Callable[[], list[np.ndarray]]
    ) -> list[np.ndarray]:
        """The distances of every trial: those in the file, or else computed and written."""
        path = _place(self._folder, key)
        distances = self._read(path, key, trials)
        # And nobody writes before all have read.
        hosts.agree("the distances that they have", {str(path): distances is None})
        if distances is None:
            distances = compute()
            if hosts.first():
                self._write(path, _content(key, self._inputs, trials, distances))
        return distances

    def _write(self, path: Path, arrays: dict[str, Any]) -> None:
        """Writes the file, the work of hours perhaps; where the disk is full, elsewhere, and the run goes on."""
        try:
            self._workdir.begin()
            _write(path, arrays)
        except OSError as error:
            print(f"{error}\n{_rescued(path, arrays)}", flush=True)

    def _read(self, path: Path, key: str, trials: Sequence[protocols.Trial]) -> list[np.ndarray] | None:
        """Distances in a file, None where they are of other inputs or draws, or where it is damaged, with a message."""
        if not path.is_file():
            return None
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                if [str(file["key"]), str(file["inputs"])] != [key, self._inputs] or int(file["trials"]) != len(trials):
                    return None
                for i, trial in enumerate(trials):
                    if not all(np.array_equal(file[f"{name}_{i}"], own) for name, own in _described(trial).items()):
                        return None
                return [file[f"distances_{i}"] for i in range(len(trials))]
        except _DAMAGED as error:
            print(f"{path} is not what an evaluation writes ({error!r}): its distances are computed anew", flush=True)
            return None


def _place(folder: Path, key: str) -> Path:
    """The file of a method and number of shots."""
    return folder / f"{key.replace('/', '-')}.npz"


def _content(
    key: str, inputs: str, trials: Sequence[protocols.Trial], distances: Sequence[np.ndarray]
) -> dict[str, Any]:
    """The arrays of a file."""
    arrays: dict[str, Any] = {"key": key, "inputs": inputs, "trials": len(trials)}
    for i, (trial, matrix) in enumerate(zip(trials, distances, strict=True)):
        arrays |= {f"{name}_{i}": value for name, value in _described(trial).items()} | {f"distances_{i}": matrix}
    return arrays


def _write(path: Path, arrays: dict[str, Any]) -> None:
    with atomic.opened(path) as file:
        np.savez(file, **arrays)


def _rescued(path: Path, arrays: dict[str, Any]) -> str:
    """Writes a file into the system's folder for temporary files; returns where it is, or why it is not."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="dsr_jax-distances-"))
        place = folder / path.name
        _write(place, arrays)
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return f"the distances are used in this run and not kept; nor are they elsewhere: {error}"
    return f"the distances are in {place}: move that file to {path}, and a later start goes on from it"


def _described(trial: protocols.Trial) -> dict[str, np.ndarray]:
    """What the rows and columns of a trial's distances are."""
    draw = trial.draw
    return {"probes": trial.probes, "identities": draw.identities, "images": np.concatenate(draw.images)}


def digest(network: features.Network, probes: Images, gallery: Images, *settings: object) -> str:
    """SHA-256 of a network's parameters, of the pictures of both sides with their masks, and of how they are used."""
    state = hashlib.sha256(repr((VERSION, network[1:], settings)).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(network.params):
        state.update(jax.tree_util.keystr(path).encode())
        state.update(np.asarray(leaf).tobytes())
    masks = [*(probes.shown or ()), *(gallery.shown or ())]
    for picture in (*probes.pictures, *gallery.pictures, *masks):
        state.update(repr(picture.shape).encode())
        state.update(picture.tobytes())
    return state.hexdigest()
