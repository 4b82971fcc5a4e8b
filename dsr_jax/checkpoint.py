"""Checkpoints of training: save in the background, keep the last few, resume from the newest that is whole.

Fine-tuning by Algorithm 2 takes thousands of steps; whoever is interrupted in between goes on from a checkpoint with
the same numbers, bit for bit. A checkpoint is a folder named by its step. It counts only once its commit marker is
there, so a process killed while saving loses that step and nothing else. Beside the state lies a record of every array
(shape, type, checksum): a state of another structure is an error that names the difference, and a damaged checkpoint
is passed over, with a warning, for the one before. Only this module imports Orbax.
"""

import json
import shutil
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

# Orbax writes it last.
COMMIT_MARKER = "commit_success.txt"


class Checkpoints:
    """The checkpoints of one training run.

    Args:
      folder: where they are; made when the first is saved.
      keep: how many to keep, the newest.

    Raises:
      ValueError: if ``keep`` is less than 1.

    Example:
      >>> import tempfile
      >>> import jax.numpy as jnp
      >>> from dsr_jax import checkpoint
      >>> with tempfile.TemporaryDirectory() as folder, checkpoint.Checkpoints(folder) as checkpoints:
      ...     checkpoints.save(10, {"w": jnp.ones(3)}, {"seed": 0})
      ...     state, extra, step = checkpoints.restore({"w": jnp.zeros(3)})
      >>> state["w"].tolist(), extra, step
      ([1.0, 1.0, 1.0], {'seed': 0}, 10)
    """

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: at least 1 checkpoint must be kept")
        self.folder = Path(folder).absolute()
        self.keep = keep
        self._saving: ocp.AsyncResponse[None] | None = None

    def save(self, step: int, state: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Saves in the background; a save still under way is waited for first.

        Args:
          step: the number of steps taken, 0 or more; an existing checkpoint of that step is replaced.
          state: a pytree of arrays. What it held at this moment is saved, even if its buffers are donated afterwards.
          extra: anything JSON can hold, such as the state of the data's iterator.

        Raises:
          ValueError: if ``step`` is negative, or ``extra`` is not JSON.
        """
        if step < 0:
            raise ValueError(f"step={step}: pass the number of steps taken, 0 or more")
        try:
            metadata = {"extra": json.loads(json.dumps(dict(extra or {}))), "arrays": _record(state)}
        except TypeError as error:
            raise ValueError(f"extra holds what JSON cannot: {error}") from error
        self.wait()
        self._saving = ocp.save_checkpointables_async(
            self.folder / str(step), {"state": state}, overwrite=True, custom_metadata=metadata
        )

    def steps(self) -> list[int]:
        """The steps that were saved completely, ascending."""
        return sorted(int(marker.parent.name) for marker in self.folder.glob(f"[0-9]*/{COMMIT_MARKER}"))

    def latest(self) -> int | None:
        """The newest step that was saved completely, or `None` if there is none."""
        return max(self.steps(), default=None)

    def restore(self, abstract_state: Any) -> tuple[Any, dict[str, Any], int]:
        """Loads the newest checkpoint that is whole.

        Args:
          abstract_state: a pytree like the one saved, of arrays or `jax.ShapeDtypeStruct`s; each array is placed as its
            counterpart's sharding says, by default on the first device.

        Returns:
          The state, the ``extra`` saved with it, and its step.

        Raises:
          ValueError: if there is no checkpoint, if ``abstract_state`` differs from what was saved (every difference is
            listed), or if no checkpoint can be read.
        """
        self.wait()
        if not self.steps():
            raise ValueError(f"no checkpoint in {self.folder}: train from the start, or name another folder")
        for step in reversed(self.steps()):
            try:
                metadata = _metadata(self.folder / str(step))
            except Exception as error:  # whatever Orbax raises on a damaged folder
                self._pass_over(step, error)
                continue
            _compare(_record(abstract_state, values=False), metadata["arrays"], f"checkpoint {self.folder / str(step)}")
            try:
                return _load(self.folder / str(step), abstract_state, metadata["arrays"]), metadata["extra"], step
            except Exception as error:
                self._pass_over(step, error)
        raise ValueError(f"no checkpoint in {self.folder} can be read: remove the folder to train from the start")

    def wait(self) -> None:
        """Waits for the save under way, if there is one, and removes checkpoints beyond the last ``keep``.

        Raises:
          Exception: what went wrong in the background, if something did.
        """
        if self._saving is None:
            return
        saving, self._saving = self._saving, None
        saving.result()
        if jax.process_index() == 0:
            self._prune()

    def close(self) -> None:
        """Waits; the same as leaving the ``with`` block."""
        self.wait()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()

    def _pass_over(self, step: int, error: Exception) -> None:
        """Says that a checkpoint is damaged."""
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        warnings.warn(f"checkpoint {self.folder / str(step)} is damaged, passed over: {reason}", stacklevel=3)

    def _prune(self) -> None:
        """Removes old checkpoints, and what saves that never finished left behind."""
        kept = {str(step) for step in self.steps()[-self.keep :]}
        for folder in self.folder.glob("[0-9]*"):
            if folder.is_dir() and folder.name not in kept:
                (folder / COMMIT_MARKER).unlink(missing_ok=True)  # first: half a checkpoint is none
                shutil.rmtree(folder)


def _record(state: Any, *, values: bool = True) -> dict[str, list[Any]]:
    """The shape, type and checksum of every array of a pytree, by its path; no checksum without values."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): [
            list(np.shape(leaf)),
            str(leaf.dtype if hasattr(leaf, "dtype") else np.result_type(leaf)),
            _checksum(leaf) if values else None,
        ]
        for path, leaf in leaves
    }


def _checksum(x: Any) -> int | None:
    """CRC-32 of an array's bytes; `None` if part of it is only on other hosts."""
    if isinstance(x, jax.Array):
        if not (x.is_fully_addressable or x.is_fully_replicated):
            return None
        x = jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x
    return zlib.crc32(np.ascontiguousarray(x).view(np.uint8).reshape(-1).data)


def _metadata(folder: Path) -> dict[str, Any]:
    """What `save` recorded beside the state."""
    metadata = ocp.checkpointables_metadata(folder).custom_metadata
    if not isinstance(metadata, dict) or not {"extra", "arrays"} <= metadata.keys():
        raise ValueError("its record is missing")
    return metadata


def _compare(wanted: Mapping[str, list[Any]], saved: Mapping[str, list[Any]], name: str) -> None:
    """Raises an error that lists where the saved arrays differ from those wanted."""
    lines = [f"{path}: saved, but not wanted" for path in saved if path not in wanted]
    lines += [f"{path}: wanted, but not saved" for path in wanted if path not in saved]
    lines += [
        f"{path}: saved as {saved[path][1]} {tuple(saved[path][0])}, wanted as {dtype} {tuple(shape)}"
        for path, (shape, dtype, _) in wanted.items()
        if path in saved and saved[path][:2] != [shape, dtype]
    ]
    if lines:
        remedy = "give the configuration that it was trained with, or another folder"
        raise ValueError("\n  ".join([f"{name} holds another state than the one wanted; {remedy}:", *lines]))


def _load(folder: Path, abstract_state: Any, saved: Mapping[str, list[Any]]) -> Any:
    """The state in a checkpoint, once its checksums are right."""
    state = ocp.load_checkpointables(folder, {"state": jax.tree.map(_abstract, abstract_state)})["state"]
    for path, (_, _, checksum) in _record(state).items():
        if None not in (checksum, saved[path][2]) and checksum != saved[path][2]:
            raise ValueError(f"{path} is not what was saved")
    return state


def _abstract(x: Any) -> jax.ShapeDtypeStruct:
    """Shape, type and place of an array."""
    sharding = getattr(x, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    dtype = x.dtype if hasattr(x, "dtype") else np.result_type(x)
    return jax.ShapeDtypeStruct(np.shape(x), dtype, sharding=sharding)
