"""Checkpoints of training: save in the background, keep the last and the best, resume from the newest that is whole.

Fine-tuning by Algorithm 2 takes thousands of steps; whoever is interrupted in between goes on from a checkpoint with
the same numbers, bit for bit. A checkpoint is a folder named by its step. It counts only once its commit marker is
there, so a process killed while saving loses that step and nothing else. Beside the state lies a record of every array
(shape, type, checksum): a state of another structure is an error that names the difference, and a damaged checkpoint
is passed over, with a warning, for the one before. Only this module imports Orbax.

What is removed, and when: a whole checkpoint, once a later one is complete that makes it superfluous; a damaged one,
once any later one is complete; what a killed save or removal left behind, before the next save.
"""

import json
import math
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from dsr_jax.formats import record

# Orbax writes it last.
COMMIT_MARKER = "commit_success.txt"


# Bytes. An array that every device has is written in parts by several of them if the parts are at least so large; parts
# of small arrays cost a compiled program each.
PART = 1 << 20

# What a damaged checkpoint's folder is called from the next save on, before its step.
_DAMAGED = "damaged-"


class Best(NamedTuple):
    """The checkpoint with the highest score."""

    step: int
    score: float


class Checkpoints:
    """The checkpoints of one training run.

    Args:
      folder: where they are; made when the first is saved.
      keep: how many to keep, the newest; the one with the highest score is kept beside them.

    Attributes:
      best: the checkpoint with the highest score, as far as those saved and restored here say; `None` without scores.

    Raises:
      ValueError: if ``keep`` is less than 1.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: at least 1 checkpoint must be kept")
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.best: Best | None = None
        self._damaged: set[int] = set()
        self._saving: ocp.AsyncResponse[None] | None = None

    def save(
        self, step: int, state: Any, extra: Mapping[str, Any] | None = None, *, score: float | None = None
    ) -> None:
        """Saves in the background; a save still under way is waited for first.

        Args:
          step: the number of steps taken, 0 or more.
          state: a pytree of arrays. What it held at this moment is saved, even if its buffers are donated afterwards.
          extra: anything JSON can hold, such as the state of the data's iterator.
          score: how good it is, the higher the better; of equal scores the first stays the best.

        Raises:
          ValueError: if ``step`` is negative or a whole checkpoint of it is there already, ``extra`` is not JSON, or
            ``score`` is not finite.
          OSError: if it, or the one still under way, cannot be written; those before are as they were.
        """
        if step < 0:
            raise ValueError(f"step={step}: pass the number of steps taken, 0 or more")
        if score is not None and not math.isfinite(score):
            raise ValueError(f"score={score}: pass a finite number, or None for a checkpoint without a score")
        best = self.best
        if score is not None and (best is None or score > best.score):
            best = Best(step, float(score))
        try:
            metadata = {"extra": json.loads(json.dumps(dict(extra or {}))), "arrays": record.of(state), "best": best}
        except TypeError as error:
            raise ValueError(f"extra holds what JSON cannot: {error}") from error
        self.wait()
        if step in self.steps():
            raise ValueError(f"step={step} is saved in {self.folder} already: a whole checkpoint is never replaced")
        try:
            if jax.process_index() == 0:
                self._sweep()
            self._damaged.clear()
            with ocp.Context(array_options=_in_parts()):
                self._saving = ocp.save_checkpointables_async(
                    self.folder / str(step), {"state": state}, overwrite=True, custom_metadata=metadata
                )
        except Exception as error:  # whatever Orbax raises when it cannot write
            raise _unwritten(self.folder, error) from error
        self.best = best

    def steps(self) -> list[int]:
        """The steps that were saved completely, ascending; without those found to be damaged."""
        found = {int(marker.parent.name) for marker in self.folder.glob(f"[0-9]*/{COMMIT_MARKER}")}
        return sorted(found - self._damaged)

    def latest(self) -> int | None:
        """The newest step that was saved completely, or `None` if there is none."""
        return max(self.steps(), default=None)

    def restore(self, abstract_state: Any, *, best: bool = False) -> tuple[Any, dict[str, Any], int]:
        """Loads the newest checkpoint that is whole.

        Args:
          abstract_state: a pytree like the one saved, of arrays or `jax.ShapeDtypeStruct`s; each array is placed as its
            counterpart's sharding says, by default on the first device.
          best: load the best one instead, and only if that is damaged the newest.

        Returns:
          The state, the ``extra`` saved with it, and its step.

        Raises:
          ValueError: if there is no checkpoint, if ``abstract_state`` differs from what was saved (every difference is
            listed), or if no checkpoint can be read.
        """
        self.wait()
        if not self.steps():
            raise ValueError(f"no checkpoint in {self.folder}: train from the start, or name another folder")
        for step in self._candidates(best):
            try:
                metadata = _metadata(self.folder / str(step))
            except Exception as error:  # whatever Orbax raises on a damaged folder
                self._pass_over(step, error)
                continue
            wanted = record.of(abstract_state, values=False)
            record.compare(wanted, metadata["arrays"], f"checkpoint {self.folder / str(step)}")
            try:
                state = _load(self.folder / str(step), abstract_state, metadata["arrays"])
            except Exception as error:
                self._pass_over(step, error)
                continue
            if not best and metadata.get("best"):
                self.best = Best(*metadata["best"])
            return state, metadata["extra"], step
        raise ValueError(f"no checkpoint in {self.folder} can be read: remove the folder to train from the start")

    def wait(self) -> None:
        """Waits for the save under way, if there is one, and removes what it makes superfluous.

        Raises:
          OSError: if it could not be written; the checkpoints before it are as they were.
        """
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        try:
            saving.result()
        except Exception as error:  # whatever went wrong in the background
            raise _unwritten(self.folder, error) from error
        if jax.process_index() == 0:
            self._prune()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.wait()
        except OSError as failure:
            if error is None:
                raise
            warnings.warn(str(failure), stacklevel=2)  # what ended the block must be heard, too

    def _candidates(self, best: bool) -> list[int]:
        """The steps to try, one after the other."""
        newest_first = self.steps()[::-1]
        if not best or self.best is None:
            return newest_first
        return [self.best.step, *(step for step in newest_first if step != self.best.step)]

    def _pass_over(self, step: int, error: Exception) -> None:
        """Says that a checkpoint is damaged, and counts it no longer: its successors must not be taken for older."""
        self._damaged.add(step)
        warnings.warn(
            f"checkpoint {self.folder / str(step)} is damaged, passed over: {_first_line(error)}", stacklevel=3
        )

    def _sweep(self) -> None:
        """Removes what killed saves and removals left; puts damaged checkpoints aside, whose steps are taken anew."""
        for step in self._damaged:
            aside = self.folder / f"{_DAMAGED}{step}"
            if aside.exists():
                shutil.rmtree(aside)
            if (self.folder / str(step)).exists():
                (self.folder / str(step)).rename(aside)
        for folder in self.folder.glob("[0-9]*"):
            if folder.is_dir() and not (folder / COMMIT_MARKER).exists():
                shutil.rmtree(folder)

    def _prune(self) -> None:
        """Removes whole checkpoints that are neither new nor best, and damaged ones: a later one is complete."""
        kept = {*self.steps()[-self.keep :], *([self.best.step] if self.best else [])}
        for step in set(self.steps()) - kept:
            folder = self.folder / str(step)
            (folder / COMMIT_MARKER).unlink()  # first: half a checkpoint is none
            shutil.rmtree(folder)
        for folder in self.folder.glob(f"{_DAMAGED}*"):
            shutil.rmtree(folder)


def _in_parts() -> ocp.options.ArrayOptions:
    """How arrays are written, see `PART`."""
    saving = ocp.options.ArrayOptions.Saving(min_slice_bytes_for_replica_parallel=PART)
    return ocp.options.ArrayOptions(saving=saving)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:400] if str(error) else type(error).__name__


def _unwritten(folder: Path, error: Exception) -> OSError:
    return OSError(
        f"a checkpoint could not be written into {folder} ({_first_line(error)}): those before it are as they were; "
        "make room there and start again with the same flags"
    )


def _metadata(folder: Path) -> dict[str, Any]:
    """What `save` recorded beside the state."""
    metadata = ocp.checkpointables_metadata(folder).custom_metadata
    if not isinstance(metadata, dict) or not {"extra", "arrays"} <= metadata.keys():
        raise ValueError("its record is missing")
    return metadata


def _load(folder: Path, abstract_state: Any, saved: Mapping[str, list[Any]]) -> Any:
    """The state in a checkpoint, once its checksums are right."""
    state = ocp.load_checkpointables(folder, {"state": jax.tree.map(_abstract, abstract_state)})["state"]
    for path, (_, _, checksum) in record.of(state).items():
        if None not in (checksum, saved[path][2]) and checksum != saved[path][2]:
            raise ValueError(f"{path} is not what was saved")
    return state


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    """Shape, type and place of an array."""
    sharding = getattr(x, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    dtype = x.dtype if hasattr(x, "dtype") else np.result_type(x)
    return jax.ShapeDtypeStruct(np.shape(x), dtype, sharding=sharding)
