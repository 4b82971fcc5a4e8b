"""3 x 3 convolutions on the CPU, of float32 images with many channels: Winograd's transforms, BLAS in between.

`winograd_kernel` has the mathematics. Lines of tiles are worked off in chunks whose transforms (36 numbers per 16
pixels) stay in cache; a chunk costs one batch of 36 matrix products. The results are those of the direct sum to a few
units of float32's precision, relative to the largest.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dsr_jax import cores, winograd_kernel
from dsr_jax.compiled import flat
from dsr_jax.winograd_kernel import TILE

PRODUCTS = (TILE + 2) ** 2
# Bytes of a chunk's transforms: larger ones leave the cache, smaller ones are small matrix products.
CHUNK = 24 << 20
# Places between the 36 matrices of a transform: without them, rows that are written together share a set of the cache.
APART = 80


def convolve(images: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Writes the convolution (SAME, stride 1) of images (batch, H, W, C) with a kernel (3, 3, C, D) to ``out``.

    Example:
      >>> import numpy as np
      >>> from dsr_jax import winograd
      >>> out = np.empty((1, 5, 5, 1), np.float32)
      >>> winograd.convolve(np.ones((1, 5, 5, 2), np.float32), np.ones((3, 3, 2, 1), np.float32), out)
      >>> out[0, :, :, 0].round(4).tolist()[0]
      [8.0, 12.0, 12.0, 12.0, 8.0]
    """
    _convolve(images, kernel, out, back=False)


def image_gradient(gradient: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (batch, H, W, C) the gradient in the images, given that in the outputs (batch, H, W, D)."""
    _convolve(gradient, kernel, out, back=True)


def kernel_gradient(images: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (3, 3, C, D) the gradient in the kernel, given that in the outputs (batch, H, W, D)."""
    channels = out.shape[2:]
    total, whole = _matrices(*channels)
    for number, (start, stop) in enumerate(_chunks(images.shape, sum(channels))):
        spread = _spread(winograd_kernel.inputs, images, start, stop)
        gradients = _spread(winograd_kernel.gradients, gradient, start, stop)
        if number:
            total += spread.transpose(0, 2, 1) @ gradients
        else:
            np.matmul(spread.transpose(0, 2, 1), gradients, out=total)
    pairs, scratch = channels[0] * channels[1], 18 * winograd_kernel.RUN

    def part(start: int, stop: int) -> None:
        winograd_kernel.kernel_gradients(
            flat(whole), pairs, _room(scratch), out.reshape(-1), _stride(total), start, stop
        )

    cores.each(part, pairs, parts=1)


def _convolve(images: np.ndarray, kernel: np.ndarray, out: np.ndarray, *, back: bool) -> None:
    """With the kernel as it is, or, for ``back``, turned by half a circle and with its channels exchanged."""
    channels = kernel.shape[2:]
    factors, whole = _matrices(*channels)
    pairs, stride, scratch = channels[0] * channels[1], _stride(factors), 18 * winograd_kernel.RUN

    def part(start: int, stop: int) -> None:
        winograd_kernel.kernels(flat(kernel), pairs, back, _room(scratch), whole, stride, start, stop)

    cores.each(part, pairs, parts=1)
    factors = factors.transpose(0, 2, 1) if back else factors
    for start, stop in _chunks(images.shape, sum(channels)):
        spread = _spread(winograd_kernel.inputs, images, start, stop)
        products, whole = _matrices(spread.shape[1], factors.shape[2])
        np.matmul(spread, factors, out=products)
        _lines(winograd_kernel.outputs, flat(whole), out, out, start, stop, _stride(products))


def _chunks(shape: tuple[int, ...], channels: int) -> list[tuple[int, int]]:
    """First and last line of every chunk."""
    batch, height, width, _ = shape
    total = batch * -(-height // TILE)
    each = max(1, CHUNK // (4 * PRODUCTS * -(-width // TILE) * channels))
    pieces = -(-total // each)
    edges = [total * i // pieces for i in range(pieces + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _spread(transform: Callable[..., None], images: np.ndarray, start: int, stop: int) -> np.ndarray:
    """The transform (36, tiles, C) of some lines."""
    matrices, whole = _matrices((stop - start) * -(-images.shape[2] // TILE), images.shape[3])
    _lines(transform, flat(images), whole, images, start, stop, _stride(matrices))
    return matrices


def _lines(
    transform: Callable[..., None],
    source: np.ndarray,
    out: np.ndarray,
    images: np.ndarray,
    start: int,
    stop: int,
    stride: int,
) -> None:
    """Transforms the lines start ... stop of ``images``, on all threads."""
    shape, rows = images.shape[1:], images.shape[2] * images.shape[3]
    lines = -(-shape[0] // TILE), start
    across = TILE * -(-shape[1] // TILE) + 2

    def part(begin: int, end: int) -> None:
        room: Any = _room(28 * shape[2])
        if transform is not winograd_kernel.outputs:
            room = _room(6 * across * shape[2]), _room(6 * rows)
        transform(source, shape, lines, room, out.reshape(-1), stride, start + begin, start + end)

    cores.each(part, stop - start, parts=2)


def _matrices(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for 36 matrices that lie a little apart, and the same in one row."""
    stride = rows * columns + APART
    whole = _room(PRODUCTS * stride)
    return whole.reshape(PRODUCTS, stride)[:, : rows * columns].reshape(PRODUCTS, rows, columns), whole


def _stride(matrices: np.ndarray) -> int:
    return matrices.strides[0] // matrices.itemsize


def _room(size: int) -> np.ndarray:
    return np.empty(size, np.float32)
