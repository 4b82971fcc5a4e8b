"""Everything that exists only to be fast on a CPU, and the switch that puts plain XLA in its place.

* Compiled kernels (`kernel_cache`, `cores`, `_product_kernel`; those of `solvers` and `matching`): the exact solver
  codes some hundred times as many pairs per second as the solvers in XLA on the same cores. In plain XLA "auto"
  chooses one of those.
* 3 x 3 convolutions (`convolution`, `winograd`, `im2col`): XLA's gradient in the kernel runs at a sixth of what the
  processor can do, its forward pass at two thirds. In plain XLA they are `jax.lax.conv_general_dilated`.
* Depthwise 3 x 3 convolutions (`depthwise`): a compiled sum of products takes their gradient in the kernel several
  times as fast as XLA.

`docs/performance.md` has the measurements. The convolutions write into XLA's buffers by
`jax.experimental.buffer_callback`, which may change with a release of JAX: the environment variable
``DSR_JAX_PLAIN_XLA=1`` does without. Distances then agree within their intervals, maps to rounding.
"""

import contextlib
import contextvars
import os
from collections.abc import Iterator

import jax

SWITCH = "DSR_JAX_PLAIN_XLA"
_plain = contextvars.ContextVar("plain", default=False)


def fast() -> bool:
    """Whether this room is used: on the CPU backend, unless plain XLA is asked for.

    Raises:
      ValueError: if the environment variable ``DSR_JAX_PLAIN_XLA`` is neither 0 nor 1.
    """
    value = os.environ.get(SWITCH, "0")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, got {value!r}")
    return value == "0" and not _plain.get() and jax.default_backend() == "cpu"


@contextlib.contextmanager
def plain_xla() -> Iterator[None]:
    """Plain XLA for what is traced within: a program that calls nothing of this process, and so runs anywhere.

    Example:
      >>> from dsr_jax import cpu
      >>> with cpu.plain_xla():
      ...     cpu.fast()
      False
    """
    before = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(before)
