"""The gradient in the kernel of a depthwise 3 x 3 convolution on the CPU, of float32 images with channels last."""

import numpy as np

from dsr_jax.cpu import _depthwise_kernel, cores
from dsr_jax.cpu.kernel_cache import flat


def kernel_gradient(images: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (3, 3, C) the gradient in the kernel, given that in the outputs (batch, H, W, C).

    The images are summed in their order, so the result is the same with any number of threads.
    """
    batch, _, width, channels = images.shape
    sums = np.zeros((batch, 9, width, channels), np.float32)
    source, slopes, target = flat(images), flat(gradient), sums.reshape(-1)

    def part(start: int, stop: int) -> None:
        _depthwise_kernel.kernel_gradients(source, slopes, images.shape[1:], target, start, stop)

    cores.each(part, batch, parts=2)
    out[...] = sums.sum(axis=(0, 2)).reshape(out.shape)
