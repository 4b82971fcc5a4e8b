"""Checks of maps, scales, labels and numbers: errors name the argument, its value and the remedy."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dsr_jax import blocks

FEWEST = 16  # channels of a network, below which an array's order is not doubted
Hide = Callable[[np.ndarray], np.ndarray]  # a map to the same, zero where it is masked


def as_maps(argument: str, value: Any, *, scales: tuple[int, ...], pooling: str) -> list[np.ndarray]:
    """One (h, w, d) array, or a sequence of them, as a checked list of float32 arrays.

    Raises:
      ValueError: naming ``argument``, the map, what is wrong with it and what is needed.
    """
    return list(each_map(argument, listed(argument, value, pooling=pooling), scales=scales))


def listed(argument: str, value: Any, *, pooling: str) -> list[Any]:
    """One (h, w, d) array, or a sequence of them, as a list of what are to be maps, not looked at yet.

    Raises:
      ValueError: naming ``argument``, for anything else; for an unknown ``pooling``.
    """
    if pooling not in blocks.POOLINGS:
        raise ValueError(f"pooling must be one of {blocks.POOLINGS}, got {pooling!r}")
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        parts = list(value)
    elif hasattr(value, "__array__") and np.ndim(value) > 0:
        parts = [value] if np.ndim(value) == 3 else list(value)
    else:
        raise ValueError(f"{argument} must be an (h, w, d) array or a sequence of such arrays, got {value!r:.80}")
    if not parts:
        raise ValueError(f"{argument} is empty: at least one (h, w, d) map is needed")
    return parts


def each_map(
    argument: str, parts: Any, *, scales: tuple[int, ...], hide: Sequence[Hide] | None = None
) -> Iterator[np.ndarray]:
    """The maps of a sequence one after the other, checked, as float32; a sequence may read them lazily.

    Raises:
      ValueError: as `as_maps`.
    """
    before = None
    for i in range(len(parts)):
        name = f"{argument}[{i}]" if len(parts) > 1 else argument
        checked = one_map(name, parts[i], before, scales=scales, hide=None if hide is None else hide[i])
        before = checked.shape
        yield checked


def one_map(
    name: str, value: Any, before: tuple[int, ...] | None, *, scales: tuple[int, ...], hide: Hide | None = None
) -> np.ndarray:
    """A map (h, w, d), checked, as float32.

    Args:
      name: what errors call it.
      value: the map.
      before: the shape of another one of the same maps.
      scales: sides of the windows, the least of which must fit.
      hide: sets its masked positions to zero. It is called before the map is scaled to float32, which positions that
        are not seen must not decide.

    Raises:
      ValueError: as `as_maps`.
    """
    m = array_of(name, value)
    check_shape(name, m.shape, before)
    if min(m.shape[:2]) < min(scales):
        raise ValueError(f"{name} of shape {m.shape} is smaller than one block of scales {scales}")
    if hide is not None:
        m = hide(finite(name, m))
    return finite(name, _float32(m))


def array_of(name: str, value: Any, *, boolean: bool = False) -> np.ndarray:
    """A map of any framework as an array of real numbers; of torch also one that needs a gradient, or is bfloat16.

    Args:
      name: what errors call it.
      value: the map.
      boolean: whether it may be of True and False, too.

    Raises:
      ValueError: naming ``name``, if it is none.
    """
    if hasattr(value, "detach") and hasattr(value, "cpu"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    if isinstance(value, np.ma.MaskedArray):  # hidden positions are zero, which have no direction
        value = value.filled(0)
    try:
        m = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as an array ({error}): give an (h, w, d) array") from error
    real = np.issubdtype(m.dtype, np.number) or m.dtype.name == "bfloat16" or (boolean and m.dtype == bool)
    if not real or np.iscomplexobj(m):
        raise ValueError(f"{name} must hold real numbers, got dtype {m.dtype}")
    return m


def check_shape(name: str, shape: tuple[int, ...], before: tuple[int, ...] | None = None) -> None:
    """Raises ValueError for anything but (h, w, d), the d of the map ``before`` it, and for what looks channels first.

    Frameworks that keep channels first give (d, h, w), which is a map of w channels, d rows and h columns to whoever
    does not ask: at least `FEWEST` rows, more than channels; channels no more than columns, or rows twice either.

    Example:
      >>> from dsr_jax.matching.checks import check_shape
      >>> check_shape("probe_maps", (10, 3, 512))
      >>> check_shape("probe_maps", (512, 10, 3))
      Traceback (most recent call last):
      ValueError: probe_maps of shape (512, 10, 3) looks channels first ...
    """
    if len(shape) != 3:
        raise ValueError(f"{name} must be an (h, w, d) array, got shape {shape}")
    if 0 in shape:
        raise ValueError(f"{name} of shape {shape} is empty, smaller than one block: (h, w, d) must all be at least 1")
    height, width, channels = shape
    turned = "maps are (h, w, d), so turn them: np.moveaxis(m, 0, -1), or batch.permute(0, 2, 3, 1) of a torch batch"
    if before is not None and channels != before[2]:
        hint = f"; if they are (d, h, w), {turned}" if height == before[0] else ""
        raise ValueError(f"{name} has {channels} channels, the map before it {before[2]}: d must be one{hint}")
    first = height >= FEWEST and channels < height and (channels <= width or height >= 2 * max(width, channels))
    if before is None and first:
        raise ValueError(
            f"{name} of shape {shape} looks channels first, with {channels} channels at {height} x {width} positions: "
            f"{turned}. If it is (h, w, d), pad d with zeros to {height}, which changes no distance"
        )


def finite(name: str, values: np.ndarray) -> np.ndarray:
    """The values, none of which is NaN or infinite.

    Raises:
      ValueError: naming ``name`` and how many are.
    """
    bad = int(np.size(values) - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise ValueError(f"{name} has {bad} values that are NaN or infinite: check the network or its input")
    return values


def as_scales(argument: str, value: Any) -> tuple[int, ...]:
    """Sides of windows as a tuple of integers.

    Raises:
      ValueError: naming ``argument``, for anything but whole numbers of at least 1.

    Example:
      >>> from dsr_jax.matching.checks import as_scales
      >>> as_scales("scales", [1, 2.0])
      (1, 2)
    """
    sides = np.asarray(value)
    if sides.ndim != 1 or not sides.size or sides.dtype.kind not in "iuf" or not _whole(sides):
        raise ValueError(f"{argument} must be whole numbers >= 1, got {value!r:.80}; the paper uses (1,) or (1, 2, 3)")
    return tuple(int(s) for s in sides)


def as_labels(argument: str, value: Any, count: int, *, kinds: tuple[type, ...] = (int, str)) -> tuple[Any, ...] | None:
    """A label per gallery map, or None where there are none; whole floats, as pandas writes them, are integers.

    Raises:
      ValueError: naming ``argument``, unless there are ``count`` labels, all of one of the ``kinds``; for an identity
        of -1, which is junk in data sets and evaluation, missing, beyond int64, or written in two ways.

    Example:
      >>> import numpy as np
      >>> from dsr_jax.matching.checks import as_labels
      >>> as_labels("identities", np.array([3, 3, 7]), 3)
      (3, 3, 7)
    """
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{argument} must be a sequence with one entry per gallery map, got {value!r:.80}")
    labels = value.tolist() if hasattr(value, "tolist") else list(value)
    if len(labels) != count:
        raise ValueError(f"{argument} must have one entry per gallery map, got {len(labels)} for {count}")
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    if int in kinds:
        labels = [int(label) if isinstance(label, float) and label.is_integer() else label for label in labels]
    if not any(all(isinstance(label, kind) for label in labels) for kind in kinds):
        raise ValueError(f"{argument} must be all integers or all strings, one per gallery map, got {value!r:.80}")
    if int in kinds:
        _check_identities(argument, labels)
    return tuple(labels)


def check_direction(argument: str, i: int, count: int, shape: tuple[int, ...], solid: int) -> None:
    """Raises ValueError for map i of ``count`` if none of its blocks has a direction."""
    if not solid:
        raise ValueError(
            f"{argument}{f'[{i}]' if count > 1 else ''} of shape {shape} has no block with a direction, all are zero: "
            "there is nothing to compare, leave it out, or look at its mask, its picture or its network"
        )


def check_channels(probe: Any, other: Any) -> None:
    """Raises ValueError for maps (h, w, d) of two sides that do not have one d."""
    channels, others = np.shape(probe)[2:], np.shape(other)[2:]
    if channels and others and channels != others:
        raise ValueError(
            f"probe_maps and gallery_maps must have the same number of channels d, got {channels[0]} and {others[0]}"
        )


def check_positive(argument: str, value: Any, advice: str) -> None:
    """Raises ValueError for anything but a finite number above zero."""
    if np.ndim(value) or not hasattr(value, "__float__") or not 0 < float(value) < np.inf:
        raise ValueError(f"{argument} must be a positive number, got {value!r}; {advice}")


def _check_identities(argument: str, labels: Sequence[Any]) -> None:
    """Raises ValueError for junk, for numbers out of range, and for one identity that is written in two ways."""
    first: dict[Any, Any] = {}
    for i, label in enumerate(labels):
        plain = label if isinstance(label, int) else _plain(label)
        if plain == -1 or plain in ("", "nan", "none", "null", "<na>"):
            raise ValueError(
                f"{argument}[{i}] is {label!r}, nobody (junk) or unknown, of whom there is no dictionary: leave out "
                f"these maps, keep = [i for i, label in enumerate({argument}) if label != {label!r}]"
            )
        if isinstance(label, int) and not 0 <= label < 2**63:
            raise ValueError(f"{argument}[{i}] is {label}: numbers must be 0 to 2^63 - 1, number the identities anew")
        if first.setdefault(plain, label) != label:
            raise ValueError(
                f"{argument} has {first[plain]!r} and {label!r} (at {i}), which are one written in two ways: write one"
            )


def _plain(label: str) -> Any:
    """A label without the ways in which one is written: composed, without blanks at its ends, whole numbers as such."""
    text = unicodedata.normalize("NFC", label).strip().replace("\u2212", "-")
    try:
        number = float(text.replace("_", " "))  # Python would read 1_0 as 10
    except ValueError:
        return text.lower() if text.lower() in ("nan", "none", "null", "<na>") else text
    return int(number) if number.is_integer() else text.lower()


def _whole(sides: np.ndarray) -> bool:
    return bool(np.all((sides >= 1) & (sides < np.inf) & (sides == np.floor(sides))))


def _float32(values: np.ndarray) -> np.ndarray:
    """As float32; values near or beyond the ends of its range are scaled first, which changes no block."""
    if values.dtype in (np.float32, np.float64):
        largest = max(values.max(), -values.min())
        if np.isfinite(largest) and largest > 1e30:
            values = values * (1e30 / largest)  # not to 1: small positions of the same map would be lost
        elif 0 < largest < 1e-30:
            values = values / largest
    return np.ascontiguousarray(values, np.float32)
