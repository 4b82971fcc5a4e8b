"""Types of maps on disk: float32, bfloat16 or float16, what each of them would lose, and the way back to float32."""

import jax.numpy as jnp
import numpy as np

DTYPES = ("float32", "bfloat16", "float16")
COARSE = 2**-6  # largest error of float16, of a position's length; four times that of bfloat16


def stored(values: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """A map in its type on disk.

    Args:
      values: the map (h, w, d).
      dtype: one of `DTYPES`.
      name: what errors call the map.

    Raises:
      ValueError: for values beyond float16, and positions so small that float16 loses their direction.
    """
    if dtype == "float16" and np.abs(values).max() > np.finfo(np.float16).max:
        raise ValueError(f"dtype float16 cannot hold the map of {name}, up to {np.abs(values).max():g}: use bfloat16")
    converted = values.astype(jnp.bfloat16 if dtype == "bfloat16" else dtype)
    largest = np.abs(values).max(axis=2) if dtype == "float16" else np.ones(1)
    # Rounding moves a position by no more than 2^-11 of its length and 2^-25 per channel: those at ease need no norms.
    if not ((largest == 0) | (largest > 2 * 2**-25 * np.sqrt(values.shape[2]) / COARSE)).all():
        lengths, moved = (np.linalg.norm(m.astype(np.float64), axis=2) for m in (values, converted - values))
        coarse = np.argwhere(moved > COARSE * lengths)
        if len(coarse):
            y, x = coarse[0].tolist()
            raise ValueError(
                f"dtype float16 loses {len(coarse)} positions of the map of {name}: the values at ({y}, {x}), up to "
                f"{np.abs(values[y, x]).max():g}, are too small for it: use bfloat16"
            )
    return converted


def read(values: np.ndarray) -> np.ndarray:
    """A map off the disk in float32; two bytes that NumPy has no name for are bfloat16.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.formats import map_values
      >>> map_values.read(map_values.stored(np.ones((1, 1, 2)), "bfloat16", "it").view("V2")).tolist()
      [[[1.0, 1.0]]]
    """
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values.view(jnp.bfloat16) if values.dtype.kind == "V" else values, np.float32)
