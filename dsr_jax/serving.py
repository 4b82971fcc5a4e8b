"""Extraction and matching in one file, programs and weights, for a server without this library.

The file is a zip of two programs that `jax.export` wrote and a card. In a process that has jax and flatbuffers, and
nothing of ours:

    import json, zipfile
    from jax import export

    with zipfile.ZipFile("dsr.zip") as archive:
        card = json.loads(archive.read("card.json"))
        extract, match = (export.deserialize(bytearray(archive.read(name))) for name in ("extract", "match"))
    maps, sizes = extract.call(images, image_sizes)
    distance, lower, upper = match.call(maps, sizes, gallery_maps, gallery_sizes)

Images are (n, H, W, 3) uint8 RGB with their true heights and widths (n, 2) int32, H and W those of the card: a smaller
image lies in the upper left corner. The gallery is (people, shots, h, w, d) with the sizes (people, shots, 2), shots
being the card's: one dictionary per person, and an image that is not there has size 0. Any number of images and people.
Distances and intervals are those of `dsr_jax.match.distances`. The programs check nothing: NaN in, NaN out, and NaN for
a probe with a map of zeros, which has nothing to compare.
"""

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from dsr_jax import blocks, cpu, extract, networks, reconstruction
from dsr_jax.formats import atomic
from dsr_jax.solvers import certificate
from dsr_jax.weights import Card

__all__ = ["CODER", "PLATFORMS", "save"]

CODER = "feature_sign"  # exact, and of XLA alone
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def save(
    path: str | os.PathLike[str],
    params: Mapping[str, Mapping[str, Any]],
    card: Card,
    *,
    size: tuple[int, int],
    output_stride: int | None = None,
    scales: Sequence[int] = (1, 2, 3),
    l1: float = 0.4,
    shots: int = 1,
    platforms: Sequence[str] = ("cpu",),
) -> dict[str, Any]:
    """Writes the file; it appears complete or not at all.

    Args:
      path: a `.zip` file.
      params: parameters of `fcn`, `resnet` or `osnet`.
      card: the network's card, see `weights.read_card`.
      size: (H, W), the largest height and width of an image.
      output_stride: pixels per position of the maps; default: the card's, else 32 (OSNet: 16).
      scales: sides of the windows that are averaged to blocks.
      l1: weight of the L1 penalty.
      shots: the most gallery images of one person.
      platforms: where the programs will run, of `PLATFORMS`; each can be named on any machine.

    Returns:
      The content of `card.json`: the network's card, shapes, settings, version of jax, SHA-256 of the programs.

    Raises:
      ValueError: for another name of the file or of a platform, a size below one position, or settings that
        `match.distances` would refuse.

    Example:
      >>> import os, tempfile
      >>> import jax
      >>> from dsr_jax import fcn, serving, weights
      >>> params = fcn.init(jax.random.key(0), width=1 / 64)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = os.path.join(folder, "dsr.zip")
      ...     card_json = serving.save(path, params, weights.Card(width=1 / 64), size=(64, 32), scales=(1,))
      >>> card_json["map_shape"]
      [2, 1, 8]
    """
    file, scales = Path(path), tuple(scales)
    stride = networks.output_stride(card.architecture, output_stride or card.output_stride)
    _check(file, size, stride, l1, shots, platforms)
    rows, columns, depth = _map_shape(params, size, stride)
    programs = {
        "extract": _extraction(params, card.preprocessing, size, stride, platforms),
        "match": _matching((rows, columns, depth), scales, l1, shots, platforms),
    }
    card_json = {
        "network": dataclasses.asdict(card),
        "image_shape": [*size, 3],
        "map_shape": [rows, columns, depth],
        "output_stride": stride,
        "scales": list(scales),
        "l1": l1,
        "shots": shots,
        "coder": CODER,
        "platforms": list(platforms),
        "jax": jax.__version__,
        "sha256": {name: hashlib.sha256(program).hexdigest() for name, program in programs.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, program in programs.items():
            archive.writestr(name, program)
        archive.writestr("card.json", json.dumps(card_json, indent=2, allow_nan=False))
    atomic.write(file, buffer.getvalue())
    return card_json


def _check(file: Path, size: tuple[int, int], stride: int, l1: float, shots: int, platforms: Sequence[str]) -> None:
    if file.suffix != ".zip":
        raise ValueError(f"path={str(file)!r}: the programs are written as .zip; choose such a name")
    if min(size) < stride:
        raise ValueError(f"size must be at least {stride} x {stride}, one position of a map, got {size[0]} x {size[1]}")
    certificate.check_l1(l1)
    if shots < 1:
        raise ValueError(f"shots must be at least 1, got {shots}")
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms:
        raise ValueError(f"platforms must be some of {', '.join(PLATFORMS)}, got {', '.join(unknown) or 'none'}")


def _map_shape(params: Any, size: tuple[int, int], stride: int) -> tuple[int, int, int]:
    shapes = jax.eval_shape(
        lambda images: networks.apply(params, images, output_stride=stride)[0],
        jax.ShapeDtypeStruct((1, *size, 3), jnp.float32),
    )
    return shapes.shape[1], shapes.shape[2], shapes.shape[3]


def _extraction(params: Any, convention: str, size: tuple[int, int], stride: int, platforms: Sequence[str]) -> bytes:
    def program(images: jax.Array, sizes: jax.Array) -> tuple[jax.Array, jax.Array]:
        return extract.padded(params, images, sizes, output_stride=stride, convention=convention, dtype=jnp.float32)

    (count,) = export.symbolic_shape("n")
    arguments = _array((count, *size, 3), jnp.uint8), _array((count, 2), jnp.int32)
    with cpu.plain_xla():
        return bytes(export.export(jax.jit(program), platforms=platforms)(*arguments).serialize())


def _matching(
    shape: tuple[int, int, int], scales: tuple[int, ...], l1: float, shots: int, platforms: Sequence[str]
) -> bytes:
    slack = certificate.slack(shape[2])

    def cut(feature_map: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        return blocks.cut(feature_map, size, scales=scales)

    def program(probes: jax.Array, sizes: jax.Array, gallery: jax.Array, gallery_sizes: jax.Array) -> Any:
        values, valid = jax.vmap(cut)(probes, sizes)
        dictionaries, _ = jax.vmap(jax.vmap(cut))(gallery, gallery_sizes)
        columns = values.reshape(-1, shape[2])

        def entry(dictionary: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            solved = reconstruction.solve(columns, dictionary.reshape(-1, shape[2]), l1=l1, coder=CODER)
            return solved.error, solved.lower, solved.upper

        counted = valid & jnp.any(values != 0, axis=2)
        counts = counted.sum(axis=1).astype(jnp.float32)  # 0 / 0 is NaN
        error, lower, upper = (
            jnp.where(counted, figure.reshape(-1, *valid.shape), 0).sum(axis=2).T / counts[:, None]
            for figure in jax.vmap(entry)(dictionaries)
        )
        return error, jnp.maximum(lower - slack, 0), upper + slack

    images, people = export.symbolic_shape("n, p")
    arguments = (
        _array((images, *shape), jnp.float32),
        _array((images, 2), jnp.int32),
        _array((people, shots, *shape), jnp.float32),
        _array((people, shots, 2), jnp.int32),
    )
    return bytes(export.export(jax.jit(program), platforms=platforms)(*arguments).serialize())


def _array(shape: Any, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)
