"""Key and prefix of a network's arrays in a file.

Training code puts a network into another (`base.conv1.weight`, `model.backbone.conv1.weight`), wrappers of torch put
`module.` and `_orig_mod.` into names, and checkpoints hold the state dict under a key (`state_dict`, `model`, `ema`).
The names that this library knows are looked for behind any prefix; that of most of them is taken off.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from dsr_jax.formats import osnet_names, resnet50_names, vgg16_names
from dsr_jax.formats.named_arrays import Tensors

# Parts of names that wrappers of torch put there: DataParallel, torch.compile, FSDP, activation checkpoints.
WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# Fewer known names than this are no network.
FEWEST = 10


class Place(NamedTuple):
    """The key of a state dict ("" where there is none) and the prefix of the network's names in it."""

    key: str
    prefix: str


def unwrapped(tensors: Tensors) -> Tensors:
    """The same without the parts of names that torch's wrappers put there.

    Raises:
      ValueError: if two names become one.

    Example:
      >>> import numpy as np
      >>> list(unwrapped({"module.base._orig_mod.conv1.weight": np.ones(1)}))
      ['base.conv1.weight']
    """
    return _renamed(tensors, lambda name: ".".join(part for part in name.split(".") if part not in WRAPPERS))


def find(groups: Mapping[str, Collection[str]]) -> Place:
    """The place of the one network of a file: the key and prefix under which most names are known.

    Args:
      groups: the names of every state dict of a file, by its key.

    Raises:
      ValueError: if there are several networks.

    Example:
      >>> names = [f"base.{name}" for name in vgg16_names.layers("torchvision")]
      >>> find({"state_dict": names, "optimizer": ["lr"]})
      Place(key='state_dict', prefix='base.')
    """
    counts: Counter[Place] = Counter()
    for key, names in groups.items():
        for name in names:
            starts = [0, *(i + 1 for i, letter in enumerate(name) if letter in "./")]
            counts.update(Place(key, name[:start]) for start in starts if name[start:] in _known())
    ((best, most),) = counts.most_common(1) or [(Place("", ""), 0)]
    if most < FEWEST:
        return Place(max(groups, key=lambda key: len(groups[key])), "")
    rivals = [place for place, count in counts.items() if 2 * count > most]
    if len(rivals) > 1:
        places = " and ".join(_described(place) for place in rivals)
        raise ValueError(f"it holds {len(rivals)} networks, {places}: save the one that you mean in a file of its own")
    return best


def without(tensors: Tensors, prefix: str) -> Tensors:
    """The same without the prefix; names that share only its beginning, up to a dot, lose that.

    Raises:
      ValueError: if two names become one.

    Example:
      >>> import numpy as np
      >>> one = np.ones(1)
      >>> list(without({"model.base.conv1.weight": one, "model.head.weight": one}, "model.base."))
      ['conv1.weight', 'head.weight']
    """
    ends = [i + 1 for i, letter in enumerate(prefix) if letter in "./"]
    shared = [prefix[:end] for end in reversed(ends)]
    return _renamed(tensors, lambda name: name.removeprefix(next(filter(name.startswith, shared), "")))


def _renamed(tensors: Tensors, rename: Callable[[str], str]) -> Tensors:
    """The arrays under other names; two that become one are an error."""
    names: dict[str, str] = {}
    for name in tensors:
        if names.setdefault(rename(name), name) != name:
            raise ValueError(f"{names[rename(name)]} and {name} would both be {rename(name)}: save one of them")
    return {new: tensors[name] for new, name in names.items()}


def _described(place: Place) -> str:
    key = f"under the key {place.key!r}" if place.key else ""
    prefix = f"in names that begin with {place.prefix!r}" if place.prefix else ""
    return " ".join(part for part in (key, prefix) if part) or "in names without a prefix"


@functools.cache
def _known() -> frozenset[str]:
    """Every name of a network's array."""
    networks: tuple[Any, ...] = (vgg16_names, resnet50_names, *osnet_names.NAMES.values())
    return frozenset(name for names in networks for naming in names.NAMINGS for name in names.layers(naming))
