"""3 x 3 convolutions on the CPU, of float32 images with many channels: Winograd's transforms, BLAS in between.

`_winograd_kernel` has the mathematics. Lines of tiles are worked off in chunks whose transforms (36 numbers per 16
pixels) stay in cache; a chunk costs one batch of 36 matrix products. The results are those of the direct sum to a few
units of float32's precision, relative to the largest of the 4 x 4 tile: where the direct sum is exactly zero beside
others that are not, a rest of that size remains.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dsr_jax.cpu import _winograd_kernel, cores
from dsr_jax.cpu._winograd_kernel import TILE
from dsr_jax.cpu.kernel_cache import flat

PRODUCTS = (TILE + 2) ** 2
# Bytes of a chunk's transforms: larger ones leave the cache, smaller ones are small matrix products.
CHUNK = 24 << 20
# Places between the 36 matrices of a transform: without them, rows that are written together share a set of the cache.
APART = 80


def convolve(images: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Writes the convolution (SAME, stride 1) of images (batch, H, W, C) with a kernel (3, 3, C, D) to ``out``."""
    _convolve(images, kernel, out, back=False)


def image_gradient(gradient: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (batch, H, W, C) the gradient in the images, given that in the outputs (batch, H, W, D)."""
    _convolve(gradient, kernel, out, back=True)


def kernel_gradient(images: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (3, 3, C, D) the gradient in the kernel, given that in the outputs (batch, H, W, D)."""
    channels = out.shape[2:]
    total = _matrices(*channels)
    for number, (start, stop) in enumerate(_chunks(images.shape, sum(channels))):
        spread = _spread(images, start, stop, margin=1).transpose(0, 2, 1)
        gradients = _spread(gradient, start, stop, margin=0)
        chunk = _matrices(*channels).each if number else total.each
        cores.matmul(spread, gradients, chunk)
        if number:
            total.each[...] += chunk
    _pairs(_winograd_kernel.kernel_gradients, flat(total.whole), out.reshape(-1), channels, total.stride)


class _Matrices(NamedTuple):
    """Room for 36 matrices that lie a little apart."""

    each: np.ndarray  # (36, rows, columns)
    whole: np.ndarray  # the same and the gaps, in one row
    stride: int  # from one to the next, in places


def _convolve(images: np.ndarray, kernel: np.ndarray, out: np.ndarray, *, back: bool) -> None:
    """With the kernel as it is, or, for ``back``, turned by half a circle and with its channels exchanged."""
    channels = kernel.shape[2:]
    transformed = _matrices(*channels)
    _pairs(_winograd_kernel.kernels, flat(kernel), transformed.whole, channels, transformed.stride, back)
    factors = transformed.each.transpose(0, 2, 1) if back else transformed.each
    for start, stop in _chunks(images.shape, sum(channels)):
        spread = _spread(images, start, stop, margin=1)
        products = _matrices(spread.shape[1], factors.shape[2])
        cores.matmul(spread, factors, products.each)
        _lines(_winograd_kernel.outputs, flat(products.whole), out.reshape(-1), out.shape, start, stop, products.stride)


def _chunks(shape: tuple[int, ...], channels: int) -> list[tuple[int, int]]:
    """First and last line of every chunk."""
    batch, height, width, _ = shape
    total = batch * -(-height // TILE)
    each = max(1, CHUNK // (4 * PRODUCTS * -(-width // TILE) * channels))
    pieces = -(-total // each)
    edges = [total * i // pieces for i in range(pieces + 1)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _spread(images: np.ndarray, start: int, stop: int, *, margin: int) -> np.ndarray:
    """The transform (36, tiles, C) of some lines."""
    matrices = _matrices((stop - start) * -(-images.shape[2] // TILE), images.shape[3])
    _lines(_winograd_kernel.tiles, flat(images), matrices.whole, images.shape, start, stop, matrices.stride, margin)
    return matrices.each


def _lines(
    transform: Callable[..., None],
    source: np.ndarray,
    out: np.ndarray,
    shape: tuple[int, ...],
    start: int,
    stop: int,
    stride: int,
    *options: int,
) -> None:
    """Transforms the lines start ... stop of images (batch, H, W, C), on all threads."""
    _, height, width, channels = shape
    across = TILE * -(-width // TILE) + 2

    def part(begin: int, end: int) -> None:
        scratch = _room(6 * across * channels), _room(6 * width * channels)
        lines = -(-height // TILE), start
        transform(source, shape[1:], lines, *options, scratch, out, stride, start + begin, start + end)

    cores.each(part, stop - start, parts=2)


def _pairs(
    transform: Callable[..., None],
    source: np.ndarray,
    out: np.ndarray,
    channels: tuple[int, ...],
    stride: int,
    *options: bool,
) -> None:
    """Transforms the kernels of all pairs of channels, on all threads."""
    pairs = channels[0] * channels[1]

    def part(start: int, stop: int) -> None:
        transform(source, pairs, *options, _room(18 * _winograd_kernel.RUN), out, stride, start, stop)

    cores.each(part, pairs, parts=1)


def _matrices(rows: int, columns: int) -> _Matrices:
    stride = rows * columns + APART
    whole = _room(PRODUCTS * stride)
    return _Matrices(
        whole.reshape(PRODUCTS, stride)[:, : rows * columns].reshape(PRODUCTS, rows, columns), whole, stride
    )


def _room(size: int) -> np.ndarray:
    return np.empty(size, np.float32)
