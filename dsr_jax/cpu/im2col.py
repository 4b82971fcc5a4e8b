"""3 x 3 convolutions of few pixels on the CPU, as one matrix product: every window becomes a row (im2col).

Where a batch is too small for `winograd`, whose transformed kernels are four times as large, the product of all windows
(B H W, 9 C) with the kernel (9 C, D) is what BLAS does best; both gradients are products with its parts transposed.
"""

import numpy as np

from dsr_jax.cpu import cores


def convolve(images: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Writes the convolution (SAME, stride 1) of images (batch, H, W, C) with a kernel (3, 3, C, D) to ``out``."""
    cores.matmul(_windows(images), kernel.reshape(-1, kernel.shape[3]), out.reshape(-1, out.shape[3]))


def image_gradient(gradient: np.ndarray, kernel: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (batch, H, W, C) the gradient in the images, given that in the outputs (batch, H, W, D)."""
    batch, height, width, outputs = gradient.shape
    windows = np.empty((batch, height, width, *kernel.shape[:3]), np.float32)
    rows = windows.reshape(batch * height * width, -1)
    cores.matmul(gradient.reshape(-1, outputs), kernel.reshape(-1, outputs).T, rows)
    padded = np.zeros((batch, height + 2, width + 2, kernel.shape[2]), np.float32)
    for down in range(3):
        for right in range(3):
            padded[:, down : down + height, right : right + width] += windows[:, :, :, down, right]
    out[...] = padded[:, 1:-1, 1:-1]


def kernel_gradient(images: np.ndarray, gradient: np.ndarray, out: np.ndarray) -> None:
    """Writes to ``out`` (3, 3, C, D) the gradient in the kernel, given that in the outputs (batch, H, W, D)."""
    outputs = gradient.shape[3]
    cores.matmul(_windows(images).T, gradient.reshape(-1, outputs), out.reshape(-1, outputs))


def _windows(images: np.ndarray) -> np.ndarray:
    """Every window (zero outside) as a row: (B H W, 9 C)."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2)).transpose(0, 1, 2, 4, 5, 3)
    return np.ascontiguousarray(windows).reshape(-1, 9 * images.shape[3])
