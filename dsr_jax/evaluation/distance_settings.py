"""Settings that decide the distances of `match`, by name: what a calibration was fitted on, and what is asked of it."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsr_jax import blocks
from dsr_jax.matching import checks
from dsr_jax.solvers import certificate, table

WEIGHTS = ("equal", "norm", "given")
DICTIONARIES = ("image", "joint")
SORTED = ("scales", "probe_scales")
# What a calibration may be asked for; "parts" are those of a fusion, the last six of an evaluation's network.
NAMES = (
    *("distance", *SORTED, "pooling", "probe_weights", "dictionary", "boost", "l1", "images_per_entry", "multi_shot"),
    *("parts", "network", "preprocessing", "output_stride", "size", "maps"),
)
CLOSE = 1e-6  # relative: 0.4 of float32 is 0.4


def settings(
    coder: str,
    *,
    l1: float = 0.4,
    scales: Sequence[int] = (1, 2, 3),
    probe_scales: Sequence[int] | None = None,
    pooling: str = "average",
    probe_weights: str | None = "equal",
    dictionary: str = "image",
    boost: float = 0.0,
    images_per_entry: int | None = None,
    multi_shot: str = "stack",
) -> dict[str, Any]:
    """What decides the distances of `match`, by name, for ``fitted_on``: `match` checks a gallery's calibration by it.

    All solvers of the lasso give one distance; of others ``l1`` is of no effect, and left out.

    Args:
      coder: as of `match.distances`, like the others that are named as there.
      l1: weight of the L1 penalty.
      scales: sides of the windows, in any order.
      probe_scales: the same for the probes; default: as ``scales``.
      pooling: "average" or "max".
      probe_weights: "equal" (or None), "norm" or, of arrays, "given".
      dictionary: "image" or "joint".
      boost: of "joint".
      images_per_entry: the most maps of an entry; None: not known.
      multi_shot: what becomes of several: "stack", one dictionary, is what `match` does.

    Raises:
      ValueError: for what `match.distances` refuses, and other words.

    Example:
      >>> from dsr_jax import calibration
      >>> found = calibration.settings("maxsim", scales=(3, 1), probe_weights="norm")
      >>> found["distance"], found["scales"], found["probe_weights"], "l1" in found
      ('cosine', (1, 3), 'norm', False)
    """
    for argument, word, words in (
        ("pooling", pooling, tuple(blocks.POOLINGS)),
        ("probe_weights", "equal" if probe_weights is None else probe_weights, WEIGHTS),
        ("dictionary", dictionary, DICTIONARIES),
    ):
        if not (isinstance(word, str) and word in words):
            raise ValueError(f"{argument} must be one of {words} here, got {word!r:.80}")
    certificate.check_l1(l1)
    figure = table.SOLVERS[table.choose(coder, use="matching")].figure
    of: dict[str, Any] = {"distance": figure, "scales": tuple(sorted(checks.as_scales("scales", scales)))}
    of["probe_scales"] = (
        of["scales"] if probe_scales is None else tuple(sorted(checks.as_scales("probe_scales", probe_scales)))
    )
    of |= {"pooling": pooling, "probe_weights": "equal" if probe_weights is None else probe_weights}
    of |= {"dictionary": dictionary, "boost": float(boost)}
    of |= {"l1": float(l1)} if figure == "lasso" else {}
    if images_per_entry is None:
        return of
    return (
        of | {"images_per_entry": int(images_per_entry)} | ({"multi_shot": multi_shot} if images_per_entry > 1 else {})
    )


def checked(argument: str, value: Any) -> dict[str, Any]:
    """A mapping by name, or None for nothing, as a dictionary.

    Raises:
      ValueError: naming ``argument``, for anything else.
    """
    if value is not None and not (isinstance(value, Mapping) and all(isinstance(name, str) for name in value)):
        raise ValueError(
            f"{argument} must be a dictionary by name, such as calibration.settings('auto') | {{'network': 'osnet'}}, "
            f"got {value!r:.80}"
        )
    return dict(value or {})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON has them.

    Example:
      >>> import numpy as np
      >>> plain({"scales": (1, 2), "bins": np.arange(2)})
      {'scales': [1, 2], 'bins': [0, 1]}
    """
    found: dict[str, Any] = json.loads(json.dumps(dict(values), default=_plain))
    return found


def differing(known: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """The names whose values, known on both sides, differ; both as `plain` gives them.

    Example:
      >>> differing({"l1": 0.4, "scales": [1, 2], "size": None}, {"l1": 0.40000001, "scales": [2, 1, 3], "size": 5})
      ['scales']
    """
    return [
        name
        for name, value in asked.items()
        if value is not None and known.get(name) is not None and not _alike(*_ordered(name, known[name], value))
    ]


def _ordered(name: str, *values: Any) -> tuple[Any, ...]:
    """Values whose order does not count, sorted."""
    return tuple(sorted(v) if name in SORTED and isinstance(v, list) else v for v in values)


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are equal, numbers but for rounding; of mappings, as far as both know."""
    if isinstance(one, dict) and isinstance(other, dict):
        return not differing(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    return math.isclose(one, other, rel_tol=CLOSE) if numbers else bool(one == other)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
