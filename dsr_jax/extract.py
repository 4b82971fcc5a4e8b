"""Extraction of the maps of images of any sizes: bucketed shapes, padded batches, few compilations.

Images are sorted into at most ``max_buckets`` padded shapes, chosen so that little is padded; each bucket is worked off
in batches of one size under jit. Padding changes no map (see `fcn`), so the result is that of each image alone, and the
network compiles once per bucket. Several devices share out the images of a batch, several processes those of a bucket.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from dsr_jax import ensemble, fcn, networks
from dsr_jax.formats import input_convention
from dsr_jax.parallel import hosts, sharding

__all__ = ["Prefix", "buckets", "maps", "padded"]

_Shape = tuple[int, int]
_Outputs = tuple[Any, Any]  # of a padded batch: activations and their true sizes


class Prefix:
    """Cache of the first blocks' outputs, reused between extractions of the same images; pass it to every `maps`.

    While only a network's last blocks are trained, validation extracts maps of the same images again and again. Blocks
    1 to 4 of VGG-16 are nine tenths of the work: with their outputs cached, only block 5 runs again. A batch is known
    by its pixels. The cache is emptied when the parameters of these blocks change, or are run in another way. The maps
    are those of an extraction without it, to rounding (the two halves of the network are compiled by themselves).

    Args:
      blocks: number of the network's first blocks, 1 to 4.
      limit: largest number of bytes that are cached; batches beyond it run as a whole each time.

    Raises:
      ValueError: for an argument out of its range.

    Example:
      >>> import jax, numpy as np
      >>> from dsr_jax import extract, fcn
      >>> params, images = fcn.init(jax.random.key(0), width=0.03), [np.ones((32, 32, 3), np.uint8)]
      >>> cache = extract.Prefix(4, limit=1 << 20)
      >>> trained = {**params, "block5_conv3": jax.tree.map(lambda x: 2 * x, params["block5_conv3"])}
      >>> first, then = (extract.maps(p, images, prefix=cache)[0] for p in (params, trained))
      >>> cache.batches, bool(np.allclose(then, 2 * first))
      (1, True)
    """

    def __init__(self, blocks: int, *, limit: int):
        if not 1 <= blocks <= 4:
            raise ValueError(f"blocks must be 1 to 4 of the network's five, got {blocks}")
        if limit < 0:
            raise ValueError(f"limit must be at least 0 bytes, got {limit}")
        self.blocks = blocks
        self._limit, self._used = limit, 0
        self._outputs: dict[bytes, _Outputs] = {}
        self._marks: list[Any] = []
        self._how: Any = None

    @property
    def batches(self) -> int:
        """Number of cached batches."""
        return len(self._outputs)

    def begin(self, params: fcn.Params, how: Any) -> None:
        """Announces the parameters of the coming batches and how they are run; empties the cache if they are others."""
        marks = [_mark(leaf) for leaf in jax.tree.leaves(networks.split(params, self.blocks)[0])]
        same = len(marks) == len(self._marks) and all(_equal(a, b) for a, b in zip(marks, self._marks, strict=True))
        if not same or how != self._how:
            self._marks, self._how, self._outputs, self._used = marks, how, {}, 0

    def of(self, images: np.ndarray, sizes: np.ndarray, run: Callable[[], _Outputs]) -> _Outputs:
        """The outputs for a padded batch, cached or made by ``run``."""
        key = hashlib.sha256(repr(images.shape).encode() + sizes.tobytes() + images.tobytes()).digest()
        if key not in self._outputs:
            made = run()
            size = sum(x.nbytes for x in made)
            if self._used + size > self._limit:
                return made
            self._outputs[key], self._used = made, self._used + size
        return self._outputs[key]


def maps(
    params: fcn.Params,
    images: Sequence[np.ndarray],
    *,
    convention: str | None = None,
    output_stride: int | None = None,
    batch_size: int = 8,
    max_buckets: int = 8,
    dtype: Any = np.float32,
    progress: str = "",
    mesh: Mesh | None = None,
    prefix: Prefix | None = None,
) -> list[np.ndarray]:
    """The spatial feature map of every image (Sec. 3.1).

    Of several processes (see `hosts`) each must make the same call; each runs the network on its part of the images,
    and all have all maps.

    Args:
      params: parameters of `fcn`, `resnet` or `osnet`, as `weights.load` returns them: they say which network it is.
      images: (H, W, 3) uint8 RGB images of any sizes; a lazy sequence is read one batch at a time.
      convention: input convention of the weights, see `fcn.preprocess`; `weights.read_card` knows that of a file.
        Default: the one that the parameters show (a published VGG-16's first layer, a ResNet's first running
        variances; OSNet's is "torch"), and "caffe", Keras', where they show none.
      output_stride: 32 or 16; default: 32, of an OSNet 16.
      batch_size: images per batch, on each device.
      max_buckets: largest number of padded shapes, hence of compilations.
      dtype: type of the computation, float32 or bfloat16.
      progress: label of the progress bar; empty: no bar.
      mesh: devices of this process that share out a batch; default: all of them.
      prefix: cache of the first blocks' outputs for these images; default: none.

    Returns:
      One (h, w, d) float32 array per image, in order.

    Raises:
      ValueError: if an image is not (H, W, 3) uint8, or smaller than one output cell; the message names the image and
        the smallest legal size.

    Example:
      >>> import jax, numpy as np
      >>> from dsr_jax import extract, fcn
      >>> params = fcn.init(jax.random.key(0), width=0.125)
      >>> [m.shape for m in extract.maps(params, [np.zeros((64, 64, 3), np.uint8), np.zeros((97, 40, 3), np.uint8)])]
      [(2, 2, 64), (3, 1, 64)]
    """
    convention = convention or next(iter(input_convention.evidence(ensemble.members(params)[0], {}).possible), "caffe")
    stride = networks.output_stride(networks.architecture(params), output_stride)
    shapes = [_shape(image, i, stride) for i, image in enumerate(images)]
    bucket_of = buckets(shapes, stride=stride, limit=max_buckets)
    over = sharding.own_mesh() if mesh is None else mesh
    options = {"output_stride": stride, "convention": convention, "dtype": np.dtype(dtype).name}
    network = functools.partial(_apply, **options, mesh=over)
    if prefix is not None:
        prefix.begin(params, (options, over))
        network = functools.partial(_in_two, network, prefix)
    placed = sharding.replicated(params, over)
    results: list[np.ndarray] = [np.empty(0)] * len(shapes)
    with tqdm(total=len(shapes), desc=progress, unit="image", disable=not progress) as bar:
        for bucket in sorted(set(bucket_of)):
            members = [i for i, b in enumerate(bucket_of) if b == bucket]
            local = members[hosts.part(len(members))]
            places = _places(len(local), batch_size, over.size)
            for start in range(0, len(local), places):
                part = local[start : start + places]
                _run(network, placed, [(i, images[i]) for i in part], bucket, places, results)
                bar.update(len(part))
            if hosts.count() > 1:
                sizes = [networks.map_size(params, shapes[i], output_stride=stride) for i in members]
                _exchange(results, members, sizes, networks.channels(params))
    return results


def padded(
    params: fcn.Params,
    images: jax.Array,
    sizes: jax.Array,
    *,
    output_stride: int,
    convention: str,
    dtype: Any,
    blocks: tuple[int, int] = (1, 5),
) -> tuple[jax.Array, jax.Array]:
    """The maps of images that are padded to one shape, for `jax.jit`; `maps` does the padding and the batches.

    Args:
      params: parameters of `fcn`, `resnet` or `osnet`.
      images: (B, H, W, 3) uint8, anything beyond each image's size; with ``blocks=(k, ...)``, k > 1, the output of
        block k - 1 instead, zero there.
      sizes: (B, 2) true heights and widths.
      output_stride: 32 or 16.
      convention: input convention of the weights.
      dtype: type of the computation.
      blocks: first and last block to run.

    Returns:
      maps: (B, h, w, d), zero beyond each map's size.
      map_sizes: (B, 2).
    """
    values = fcn.zero_outside(fcn.preprocess(images, convention), sizes) if blocks[0] == 1 else images
    return networks.apply(params, values, sizes, output_stride=output_stride, dtype=dtype, blocks=blocks)


def buckets(shapes: Sequence[_Shape], *, stride: int, limit: int) -> list[_Shape]:
    """The padded shape of every image: multiples of ``stride``, at most ``limit`` different ones, little padding.

    Shapes are rounded up; while there are too many, the two whose union pads least are merged.

    Example:
      >>> from dsr_jax import extract
      >>> extract.buckets([(60, 30), (64, 32), (128, 64)], stride=32, limit=2)
      [(64, 32), (64, 32), (128, 64)]
    """
    rounded = [(-(-h // stride) * stride, -(-w // stride) * stride) for h, w in shapes]
    counts: dict[_Shape, int] = {}
    for shape in rounded:
        counts[shape] = counts.get(shape, 0) + 1
    target = {shape: shape for shape in counts}
    while len(counts) > limit:
        union, first, second = min(
            ((_union(a, b), a, b) for a in counts for b in counts if a < b),
            key=lambda trio: _padding(trio[0], trio[1], counts) + _padding(trio[0], trio[2], counts),
        )
        merged = counts.pop(first) + counts.pop(second)
        counts[union] = counts.get(union, 0) + merged
        target = {shape: union if aim in (first, second) else aim for shape, aim in target.items()}
    return [target[shape] for shape in rounded]


def _places(images: int, batch_size: int, devices: int) -> int:
    """Images of a batch on all devices: fewer where some devices would have nothing but padding."""
    return batch_size if devices == 1 else devices * min(batch_size, max(1, -(-images // devices)))


def _exchange(results: list[np.ndarray], members: list[int], sizes: Sequence[tuple[int, int]], depth: int) -> None:
    """Puts the maps of ``members``, of sizes that all processes know, into ``results`` of every process."""
    local = members[hosts.part(len(members))]
    tallest = max(height * width for height, width in sizes)
    columns = np.zeros((tallest * depth, len(local)), np.float32)
    for column, i in enumerate(local):
        columns[: results[i].size, column] = results[i].ravel()
    for i, size, column in zip(members, sizes, hosts.together(columns, len(members)).T, strict=True):
        results[i] = column[: size[0] * size[1] * depth].reshape(*size, depth)


def _union(a: _Shape, b: _Shape) -> _Shape:
    return max(a[0], b[0]), max(a[1], b[1])


def _padding(union: _Shape, shape: _Shape, counts: dict[_Shape, int]) -> int:
    return counts[shape] * (union[0] * union[1] - shape[0] * shape[1])


def _shape(image: np.ndarray, position: int, output_stride: int) -> _Shape:
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"images[{position}] must be (H, W, 3) RGB, got shape {image.shape}")
    if image.dtype != np.uint8:
        raise ValueError(f"images[{position}] must be uint8, 0 to 255, got {image.dtype}; convert it first")
    if min(image.shape[:2]) < output_stride:
        raise ValueError(
            f"images[{position}] of {image.shape[0]} x {image.shape[1]} pixels is smaller than one output cell: the "
            f"smallest legal size is {output_stride} x {output_stride}; enlarge it or use output_stride=16"
        )
    return image.shape[0], image.shape[1]


def _run(
    network: Callable[..., tuple[jax.Array, jax.Array]],
    params: fcn.Params,
    numbered: Sequence[tuple[int, np.ndarray]],
    bucket: _Shape,
    batch_size: int,
    results: list[np.ndarray],
) -> None:
    """Pads one batch, runs it and puts the maps, cut to their true sizes, into ``results``."""
    padded = np.zeros((batch_size, *bucket, 3), np.uint8)
    sizes = np.full((batch_size, 2), bucket, np.int32)
    for row, (_, image) in enumerate(numbered):
        padded[row, : image.shape[0], : image.shape[1]] = image
        sizes[row] = image.shape[:2]
    batch, map_sizes = (np.asarray(value) for value in network(params, padded, sizes))
    for row, (position, _) in enumerate(numbered):
        height, width = map_sizes[row]
        results[position] = batch[row, :height, :width].astype(np.float32)


def _in_two(
    network: Callable[..., tuple[jax.Array, jax.Array]],
    prefix: Prefix,
    params: fcn.Params,
    images: np.ndarray,
    sizes: np.ndarray,
) -> tuple[jax.Array, jax.Array]:
    """The maps of a padded batch; the outputs of the first blocks may be cached."""
    outputs = prefix.of(images, sizes, lambda: network(params, images, sizes, blocks=(1, prefix.blocks)))
    return network(params, *outputs, blocks=(prefix.blocks + 1, 5))


@functools.partial(jax.jit, static_argnames=("output_stride", "convention", "dtype", "mesh", "blocks"))
def _apply(
    params: fcn.Params,
    images: jax.Array,
    sizes: jax.Array,
    *,
    output_stride: int,
    convention: str,
    dtype: str,
    mesh: Mesh,
    blocks: tuple[int, int] = (1, 5),
) -> tuple[jax.Array, jax.Array]:
    how: dict[str, Any] = {"output_stride": output_stride, "convention": convention, "dtype": dtype, "blocks": blocks}

    def network(images: jax.Array, sizes: jax.Array, params: fcn.Params) -> tuple[jax.Array, jax.Array]:
        return padded(params, images, sizes, **how)

    return sharding.by_rows(network, mesh, shared=2)(images, sizes, params)


def _mark(leaf: Any) -> Any:
    """Identity of an array of parameters: JAX's never change and stand for themselves, NumPy's may be written to."""
    return leaf if isinstance(leaf, jax.Array) else hashlib.sha256(np.ascontiguousarray(leaf).tobytes()).digest()


def _equal(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, bytes) and isinstance(b, bytes) and a == b)
