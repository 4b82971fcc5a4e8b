"""The largest cosine of every row of a probe to the stripes of an entry's maps, compiled: one entry after another."""

from typing import no_type_check

import numpy as np

from dsr_jax.cpu.kernel_cache import kernel

NONE = np.float32(-4)  # below every cosine


@kernel(threads=True)
@no_type_check
def largest(values, steps, members, offsets, rows, start, stop, wide, best):
    """Writes the cosines of the entries ``start`` to ``stop`` to ``best`` (E, p); 0 of one without a stripe.

    ``values`` (n, s, d) int8 times ``steps`` (n, s) are the stripes; one of step 0 has no direction. The maps of entry
    e are ``members[offsets[e] : offsets[e + 1]]``; ``rows`` (p, d) are the probe's, and ``wide`` (d,) is to work in.
    """
    for e in range(start, stop):
        for r in range(rows.shape[0]):
            best[e, r] = NONE
        for m in range(offsets[e], offsets[e + 1]):
            i = members[m]
            for j in range(values.shape[1]):
                step = steps[i, j]
                if step == np.float32(0):
                    continue
                for k in range(wide.size):
                    wide[k] = values[i, j, k]
                for r in range(rows.shape[0]):
                    total = np.float32(0)
                    for k in range(wide.size):
                        total += wide[k] * rows[r, k]
                    best[e, r] = max(best[e, r], total * step)
        for r in range(rows.shape[0]):
            if best[e, r] == NONE:
                best[e, r] = np.float32(0)


@kernel(threads=True)
@no_type_check
def rounded(halves, numbers, first, start, stop, values, steps):
    """Writes the stripes ``start`` to ``stop`` of some maps to those of the maps from ``first`` on.

    ``halves`` are the bits of their numbers in float16, one after another, ``numbers`` (65536,) those in float32.
    """
    stripes, channels = values.shape[1], values.shape[2]
    for i in range(start, stop):
        for j in range(stripes):
            at = (i * stripes + j) * channels
            largest = np.float32(0)
            for k in range(channels):
                largest = max(largest, abs(numbers[halves[at + k]]))
            steps[first + i, j] = largest / np.float32(127)
            scale = np.float32(127) / largest if largest > np.float32(0) else np.float32(0)
            for k in range(channels):
                values[first + i, j, k] = np.int8(np.rint(numbers[halves[at + k]] * scale))
