"""Outputs of the frozen blocks, kept on disk, so that an epoch with a frozen trunk takes minutes.

A fixed number of views per image is drawn once, the frozen blocks of the network are run on them, and what comes out is
kept as float16. A cache says what it was made of, appears part by part, and can be shared by runs.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from numpy.lib import format as npy
from tqdm import tqdm

from dsr_jax import fcn, networks
from dsr_jax.formats import atomic
from dsr_jax.map_file import COARSE
from dsr_jax.parallel import hosts
from experiments.training.batches import ImageViews
from experiments.workdir import write_json

NOTE = "fingerprint.json"


class FrozenViews:
    """Outputs of the frozen blocks for a fixed number of views per image, kept on disk.

    Args:
      folder: where they are kept; the file of a view number appears whole or not at all, so building resumes.
      fingerprint: what the outputs depend on (weights, size, seed, ...); a folder with another one is an error.
      number: views of each kind per image.
      trunk: how the frozen blocks are run (`output_stride`, `convention`, `frozen_blocks`).

    Raises:
      ValueError: if the folder was made with another fingerprint, or an output is too large for float16.
    """

    def __init__(
        self,
        folder: Path,
        images: Callable[[], ImageViews],
        params: fcn.Params,
        *,
        fingerprint: dict[str, Any],
        count: int,
        number: int,
        trunk: Any,
        seed: int,
        batch_size: int = 16,
        progress: bool = False,
    ):
        _claim(folder, fingerprint)
        self._run = _frozen(params, trunk)
        self._batch_size, self._seed, self._count, self._progress = batch_size, seed, count, progress
        lazy = functools.cache(images)
        kinds = [(kind, v) for v in range(number) for kind in ("whole", "patch")]
        self._parts = {key: self._open(folder, lazy, *key) for key in kinds}
        self._number = number

    def padded(self, i: int) -> tuple[int, ...]:
        """Height, width and channels of the outputs for a whole view, the same for every image."""
        del i
        return self._parts["whole", 0][0].shape[1:]

    def whole(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A holistic view."""
        return self._pick("whole", i, rng)

    def patch(self, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A patch at the same scale."""
        return self._pick("patch", i, rng)

    def _pick(self, kind: str, i: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        values, sizes = self._parts[kind, int(rng.integers(self._number))]
        return values[i], sizes[i]

    def _open(
        self, folder: Path, images: Callable[[], ImageViews], kind: str, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        file, sizes_file = folder / f"{kind}_{number}.npy", folder / f"{kind}_{number}_sizes.npy"
        if hosts.first() and not file.exists():  # runs that share the cache may build it at once
            with atomic.opened(file) as stream:
                sizes = self._build(stream, images(), kind, number)
                with atomic.opened(sizes_file) as beside:  # in place before the other
                    np.save(beside, sizes)
        hosts.wait(f"frozen {file.name}")
        return np.load(file, mmap_mode="r"), np.load(sizes_file)

    def _build(self, stream: BinaryIO, images: ImageViews, kind: str, number: int) -> np.ndarray:
        """Writes the outputs as NumPy would, as they come: into a mapped file, a full disk would kill the process."""
        sizes = np.zeros((self._count, 2), np.int32)
        label = f"frozen blocks, {kind} views {number}"
        with tqdm(total=self._count, desc=label, unit="image", disable=not self._progress) as bar:
            for start in range(0, self._count, self._batch_size):
                members = list(range(start, min(start + self._batch_size, self._count)))
                members += members[-1:] * (self._batch_size - len(members))
                drawn = [
                    getattr(images, kind)(i, np.random.default_rng((self._seed, number, kind == "patch", i)))
                    for i in members
                ]
                pixels, pixel_sizes = (np.stack(part) for part in zip(*drawn, strict=True))
                outputs, output_sizes = (np.asarray(part) for part in self._run(pixels, pixel_sizes))
                if not start:
                    shape = (self._count, *outputs.shape[1:])
                    header = {"descr": npy.dtype_to_descr(np.dtype(np.float16)), "fortran_order": False, "shape": shape}
                    npy.write_array_header_1_0(stream, header)
                stop = min(start + self._batch_size, self._count)
                stream.write(np.ascontiguousarray(_halved(outputs[: stop - start])).data)
                sizes[start:stop] = output_sizes[: stop - start]
                bar.update(stop - start)
        return sizes


def check(folder: Path) -> None:
    """Looks whether a new folder could be written to; one that is whole may be anybody's."""
    if hosts.first() and not (folder / NOTE).exists():
        atomic.check_folder(folder, remedy="give another --frozen_cache")


def _claim(folder: Path, fingerprint: dict[str, Any]) -> None:
    """The note is written before any part, so that parts are never taken for what they are not."""
    note = folder / NOTE
    if note.exists():
        made_with = json.loads(note.read_text(encoding="utf-8"))
        if made_with != fingerprint:
            names = sorted(set(made_with) | set(fingerprint))
            changed = [name for name in names if made_with.get(name) != fingerprint.get(name)]
            raise ValueError(
                f"frozen_cache {folder} was made with other {', '.join(changed)}: "
                "give another --frozen_cache or remove the folder"
            )
        return
    if any(folder.glob("*.npy")):
        raise ValueError(f"frozen_cache {folder} holds outputs of unknown origin: give another folder or remove it")
    write_json(note, fingerprint)


def _halved(outputs: np.ndarray) -> np.ndarray:
    """A batch of outputs as float16, an error where it cannot hold them; small values among large ones may become 0."""
    if not np.abs(outputs).max(initial=0) <= np.finfo(np.float16).max:
        raise ValueError("outputs of the frozen blocks are NaN or beyond float16: train with --frozen_views=0")
    stored = outputs.astype(np.float16)
    lengths, moved = (np.linalg.norm(part.reshape(len(part), -1), axis=1) for part in (outputs, stored - outputs))
    if np.any(moved > COARSE * lengths):
        raise ValueError(
            f"outputs of the frozen blocks, up to {np.abs(outputs).max():g}, are too small for float16: train with "
            "--frozen_views=0"
        )
    return stored


def _frozen(params: fcn.Params, trunk: Any) -> Callable[..., tuple[jax.Array, jax.Array]]:
    @jax.jit
    def run(pixels: jax.Array, sizes: jax.Array) -> tuple[jax.Array, jax.Array]:
        inputs = fcn.zero_outside(fcn.preprocess(pixels, trunk.convention), sizes)
        blocks = (1, trunk.frozen_blocks)
        return networks.apply(params, inputs, sizes, output_stride=trunk.output_stride, blocks=blocks)

    return run
