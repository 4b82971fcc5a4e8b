"""Winograd's transforms for 3 x 3 convolutions, compiled: F(4 x 4, 3 x 3), a 4 x 4 tile of outputs from 6 x 6 inputs.

A 1D convolution of 6 numbers with 3 is a product of polynomials, taken at the points 0, a, -a, b, -b and infinity:

    y = A' [(G w) * (B' x)],      x (6,), w (3,), y (4,)

with * element by element: 6 products in place of 12; in 2D, 36 in place of 144. Over images the products become 36
matrix products (tiles x channels by channels x channels), which `winograd` leaves to BLAS. The gradient in w is the
same in reverse, G' [(A g) * (B' x)].

With a = 2/3 and b = 3/2 the float32 result is about as accurate as that of the direct sum; with the 1 and 2 of the
original (Lavin and Gray, CVPR 2016) the largest error is 4.5 times as large.

Arrays are flat, in places of float32; channels lie side by side. A 1D transform works on runs of ``n`` numbers: its
inputs begin at ``at`` and are ``step`` apart, its outputs begin at ``to`` and are ``stride`` apart.
"""

from typing import no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel

TILE, WINDOW, TAPS = 4, 6, 3
A, B = 2 / 3, 3 / 2
A1, A2, A3 = np.float32(A), np.float32(A**2), np.float32(A**3)
B1, B2, B3 = np.float32(B), np.float32(B**2), np.float32(B**3)
SUM = np.float32(A**2 + B**2)  # and a b = 1
NEAR, FAR = np.float32(1 / (2 * A**2 * (A**2 - B**2))), np.float32(1 / (2 * B**2 * (B**2 - A**2)))
RUN = 128  # channel pairs of a kernel that are transformed together


@kernel()
@no_type_check
def _inputs(x, at, step, n, out, to, stride):
    """B'x: six of six."""
    two, three, four, five = step + step, np.uint64(3) * step, np.uint64(4) * step, np.uint64(5) * step
    for j in range(n):
        x0, x1, x2 = x[at + j], x[at + step + j], x[at + two + j]
        x3, x4, x5 = x[at + three + j], x[at + four + j], x[at + five + j]
        p, q = x4 - B2 * x2, A1 * (x3 - B2 * x1)
        r, s = x4 - A2 * x2, B1 * (x3 - A2 * x1)
        o = to + j
        out[o] = x0 - SUM * x2 + x4
        out[o + stride] = p + q
        out[o + np.uint64(2) * stride] = p - q
        out[o + np.uint64(3) * stride] = r + s
        out[o + np.uint64(4) * stride] = r - s
        out[o + np.uint64(5) * stride] = x1 - SUM * x3 + x5


@kernel()
@no_type_check
def _gradients(g, at, step, n, out, to, stride):
    """A g: six of four."""
    two, three = step + step, np.uint64(3) * step
    for j in range(n):
        g0, g1, g2, g3 = g[at + j], g[at + step + j], g[at + two + j], g[at + three + j]
        p, q = g0 + A2 * g2, A1 * g1 + A3 * g3
        r, s = g0 + B2 * g2, B1 * g1 + B3 * g3
        o = to + j
        out[o] = g0
        out[o + stride] = p + q
        out[o + np.uint64(2) * stride] = p - q
        out[o + np.uint64(3) * stride] = r + s
        out[o + np.uint64(4) * stride] = r - s
        out[o + np.uint64(5) * stride] = g3


@kernel()
@no_type_check
def _outputs(m, at, step, n, out, to, stride):
    """A'm: four of six."""
    two, three, four, five = step + step, np.uint64(3) * step, np.uint64(4) * step, np.uint64(5) * step
    for j in range(n):
        m0, m1, m2 = m[at + j], m[at + step + j], m[at + two + j]
        m3, m4, m5 = m[at + three + j], m[at + four + j], m[at + five + j]
        p, q, r, s = m1 + m2, m1 - m2, m3 + m4, m3 - m4
        o = to + j
        out[o] = m0 + p + r
        out[o + stride] = A1 * q + B1 * s
        out[o + np.uint64(2) * stride] = A2 * p + B2 * r
        out[o + np.uint64(3) * stride] = A3 * q + B3 * s + m5


@kernel()
@no_type_check
def _kernels(w, at, step, n, out, to, stride):
    """G w: six of three."""
    for j in range(n):
        w0, w1, w2 = w[at + j], w[at + step + j], w[at + step + step + j]
        p, q = NEAR * (w0 + A2 * w2), NEAR * A1 * w1
        r, s = FAR * (w0 + B2 * w2), FAR * B1 * w1
        o = to + j
        out[o] = w0
        out[o + stride] = p + q
        out[o + np.uint64(2) * stride] = p - q
        out[o + np.uint64(3) * stride] = r + s
        out[o + np.uint64(4) * stride] = r - s
        out[o + np.uint64(5) * stride] = w2


@kernel()
@no_type_check
def _kernel_gradients(u, at, step, n, out, to, stride):
    """G'u: three of six."""
    two, three, four, five = step + step, np.uint64(3) * step, np.uint64(4) * step, np.uint64(5) * step
    for j in range(n):
        u0, u1, u2 = u[at + j], u[at + step + j], u[at + two + j]
        u3, u4, u5 = u[at + three + j], u[at + four + j], u[at + five + j]
        p, q, r, s = NEAR * (u1 + u2), NEAR * (u1 - u2), FAR * (u3 + u4), FAR * (u3 - u4)
        o = to + j
        out[o] = u0 + p + r
        out[o + stride] = A1 * q + B1 * s
        out[o + stride + stride] = A2 * p + B2 * r + u5


@kernel()
@no_type_check
def _side(x, at, step, n, out, to, stride, margin):
    """One of the two transforms of a side of tiles: inputs have a margin of 1, gradients none."""
    if margin:
        _inputs(x, at, step, n, out, to, stride)
    else:
        _gradients(x, at, step, n, out, to, stride)


@kernel(threads=True)
@no_type_check
def tiles(x, shape, lines, margin, scratch, out, stride, start, stop):
    """B'xB of the tiles of some lines and a margin of 1 around each, or without one A x A': (36, tiles, C).

    A line is a row of tiles of images (batch, H, W, C); those of all images are counted through. Args are those of
    `outputs` too: ``shape`` (H, W, C), ``lines`` how many an image has and the first that is in ``out``, ``scratch``
    working memory, ``stride`` from one of the 36 to the next; the lines ``start`` ... ``stop`` are worked off.
    """
    height, width, c = np.uint64(shape[0]), np.uint64(shape[1]), np.uint64(shape[2])
    first, stride, margin = np.uint64(lines[1]), np.uint64(stride), np.uint64(margin)
    across, both = (width + np.uint64(3)) // np.uint64(4), margin + margin
    row, span = width * c, (np.uint64(4) * across + both) * c
    padded, tall = scratch
    for j in range(padded.size):
        padded[j] = 0
    for line in range(start, stop):
        image, y = np.uint64(line) // np.uint64(lines[0]), np.uint64(line) % np.uint64(lines[0]) * np.uint64(4)
        at = (image * height + y) * row
        if y >= margin and y + np.uint64(4) + margin <= height:
            _side(x, at - margin * row, row, row, padded, margin * c, span, margin)
        else:
            for k in range(np.uint64(4) + both):
                o, inside = np.uint64(k) * row, margin <= y + np.uint64(k) < height + margin
                for j in range(row):
                    tall[o + j] = x[at + o + j - margin * row] if inside else 0
            _side(tall, np.uint64(0), row, row, padded, margin * c, span, margin)
        tile = (np.uint64(line) - first) * across * c
        for k in range(6):
            for t in range(across):
                to = np.uint64(6 * k) * stride + tile + t * c
                _side(padded, np.uint64(k) * span + np.uint64(4) * t * c, c, c, out, to, stride, margin)


@kernel(threads=True)
@no_type_check
def outputs(products, shape, lines, scratch, out, stride, start, stop):
    """A'mA of the tiles of some lines, products (36, tiles, C) ``stride`` apart: outputs (batch, H, W, C)."""
    height, width, c = np.uint64(shape[0]), np.uint64(shape[1]), np.uint64(shape[2])
    first, stride = np.uint64(lines[1]), np.uint64(stride)
    across = (width + np.uint64(3)) // np.uint64(4)
    row, six = width * c, np.uint64(6) * c
    columns, edge = scratch
    for line in range(start, stop):
        image, y = np.uint64(line) // np.uint64(lines[0]), np.uint64(line) % np.uint64(lines[0]) * np.uint64(4)
        at = (image * height + y) * row
        tile = (np.uint64(line) - first) * across * c
        for t in range(across):
            for k in range(6):
                o = tile + t * c + np.uint64(k) * stride
                _outputs(products, o, np.uint64(6) * stride, c, columns, np.uint64(k) * c, six)
            inside = min(np.uint64(4), width - np.uint64(4) * t)
            for i in range(min(np.uint64(4), height - y)):
                to = at + np.uint64(i) * row + np.uint64(4) * t * c
                if inside == 4:
                    _outputs(columns, np.uint64(i) * six, c, c, out, to, c)
                else:
                    _outputs(columns, np.uint64(i) * six, c, c, edge, np.uint64(0), c)
                    for j in range(inside * c):
                        out[to + j] = edge[j]


@kernel(threads=True)
@no_type_check
def kernels(w, pairs, turned, scratch, out, stride, start, stop):
    """G w G' of the channel pairs start ... stop: (36, pairs), the 36 ``stride`` apart, from (3, 3, pairs).

    ``turned``: of the kernel turned by half a circle.
    """
    pairs, stride = np.uint64(pairs), np.uint64(stride)
    three = np.uint64(3) * pairs
    first = np.uint64(8) * pairs if turned else np.uint64(0)
    down, right = (-three, -pairs) if turned else (three, pairs)  # unsigned: a sum with these comes out right
    for begin in range(start, stop, RUN):
        at, n = first + np.uint64(begin), np.uint64(min(RUN, stop - begin))
        for k in range(3):
            o = np.uint64(k)
            _kernels(w, at + o * right, down, n, scratch, o * n, np.uint64(3) * n)
        for k in range(6):
            o = np.uint64(k)
            to = np.uint64(begin) + np.uint64(6) * o * stride
            _kernels(scratch, np.uint64(3) * o * n, n, n, out, to, stride)


@kernel(threads=True)
@no_type_check
def kernel_gradients(u, pairs, scratch, out, stride, start, stop):
    """G'u G of the channel pairs start ... stop: (3, 3, pairs) from (36, pairs), the 36 ``stride`` apart."""
    pairs, stride = np.uint64(pairs), np.uint64(stride)
    for begin in range(start, stop, RUN):
        at, n = np.uint64(begin), np.uint64(min(RUN, stop - begin))
        for k in range(6):
            o = np.uint64(k)
            _kernel_gradients(u, at + o * stride, np.uint64(6) * stride, n, scratch, o * n, np.uint64(6) * n)
        for k in range(3):
            o = np.uint64(k)
            _kernel_gradients(scratch, np.uint64(6) * o * n, n, n, out, at + np.uint64(3) * o * pairs, pairs)
