"""Several networks that were trained apart as one: its map is theirs, one behind another in the channels.

Networks of one recipe and other seeds err on other pictures. An ensemble of them is a network like any other, one file
that is extracted, searched, calibrated, evaluated and exported. A position's vector is (x_1, ..., x_m), so that the
cosine of two positions is the sum of the members' cosines, each times |x_k| |y_k| / (|x| |y|): their mean where all
norms are alike, as of networks of one recipe; a member of larger features counts more. Maps are m times as large.
The first blocks that are the same in all members, because they started from one network and were not trained, run once.

The parameters are the layers that all members share, as they are, and those of member k with "memberk/" before their
names. `networks`, `extract` and `weights` take them as those of a single network; it cannot be trained.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import osnet
from dsr_jax.layers.batch_norm import STATISTICS
from dsr_jax.layers.parameters import BLOCKS, Params, block_of, member_of

__all__ = ["check_alike", "members", "of", "run", "shared_blocks"]

ROUNDING = 2e-6  # of the largest number of an array, or of a kernel's channel: what folding may change


def of(networks: Sequence[Params]) -> Params:
    """The ensemble of networks, in their order.

    OSNets are folded first (`osnet.fold`). Blocks, from the first on, and layers of the own vector that all of them
    have in common, to rounding, are those of the first network.

    Args:
      networks: parameters of two or more networks of one architecture, form and width; ensembles count as their
        members.

    Returns:
      The parameters, for `networks.apply`, `extract.maps` and `weights.save`.

    Raises:
      ValueError: for fewer than two networks, for other architectures, widths or layers, and if two of them have the
        same maps.

    Example:
      >>> import jax
      >>> from dsr_jax import ensemble, fcn, networks
      >>> one, other = (fcn.init(jax.random.key(seed), width=0.02) for seed in range(2))
      >>> both = ensemble.of([one, {**one, "block5_conv3": other["block5_conv3"]}])
      >>> len(ensemble.members(both)), ensemble.shared_blocks(both)
      (2, 4)
      >>> networks.channels(one), networks.channels(both)
      (10, 20)
    """
    if isinstance(networks, Mapping):
        raise ValueError("networks must be a sequence of two or more networks' parameters, got those of one")
    each = {
        f"networks[{place}]" + (f", member {number}" if len(found) > 1 else ""): folded(one)
        for place, network in enumerate(networks)
        for found in [members(network)]
        for number, one in enumerate(found, 1)
    }
    if len(each) < 2:
        raise ValueError(f"networks must be two or more, got {len(each)}")
    for (name, one), (other_name, other) in itertools.combinations(each.items(), 2):
        check_alike(one, other, names=(name, other_name))
        if all(_same([one, other], block) for block in range(1, BLOCKS + 1)):
            raise ValueError(f"{name} and {other_name} have the same maps: leave one of them out")
    first, *_ = params = list(each.values())
    blocks = {*itertools.takewhile(lambda block: _same(params, block), range(1, BLOCKS))}  # never the last: see `run`
    blocks |= {0} if _same(params, 0) else set()
    found = {name: leaves for name, leaves in first.items() if block_of(name) in blocks}
    for number, one in enumerate(params, 1):
        found |= {f"member{number}/{name}": leaves for name, leaves in one.items() if name not in found}
    return found


def members(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The networks of an ensemble, each with the layers that they share; of a single network that alone.

    Example:
      >>> members({"block1_conv": 0, "member1/block2_conv": 1, "member2/block2_conv": 2})
      [{'block1_conv': 0, 'block2_conv': 1}, {'block1_conv': 0, 'block2_conv': 2}]
    """
    own: dict[int, dict[str, Any]] = {}
    for name, leaves in params.items():
        number = member_of(name)
        own.setdefault(number, {})[name.partition("/")[2] if number else name] = leaves
    shared = own.pop(0, {})
    return [shared | own[number] for number in sorted(own)] or [shared]


def shared_blocks(params: Mapping[str, Any]) -> int:
    """How many blocks, from the first on, all members share; of a single network all."""
    return min((block_of(name) for name in params if member_of(name) and block_of(name)), default=BLOCKS + 1) - 1


def run(
    network: Callable[..., tuple[jax.Array, jax.Array]],
    params: Params,
    images: jax.Array,
    sizes: jax.Array | None,
    *,
    blocks: tuple[int, int],
    **options: Any,
) -> tuple[jax.Array, jax.Array]:
    """The maps of an ensemble and their sizes.

    Args:
      network: `apply` of the members.
      params: the ensemble's parameters.
      images: (B, H, W, 3), or the output of block k - 1 with ``blocks=(k, ...)``.
      sizes: as of `network`.
      blocks: first and last block that are run.
      **options: of `network`.
    """
    each, together, (first, last) = members(params), shared_blocks(params), blocks
    x = images
    if first <= together:
        x, sizes = network(each[0], x, sizes, blocks=(first, min(last, together)), **options)
        if last <= together:
            return x, sizes
        first = together + 1
    inputs = [x] * len(each) if first == together + 1 else jnp.split(x, len(each), axis=3)
    found = [network(one, part, sizes, blocks=(first, last), **options) for one, part in zip(each, inputs, strict=True)]
    return jnp.concatenate([maps for maps, _ in found], axis=3), found[0][1]


def folded(params: Params) -> Params:
    """An OSNet with its normalisations folded; another network as it is."""
    return osnet.fold(params) if "block2a_gate_conv1" in params else params


def check_alike(one: Params, other: Params, *, names: tuple[str, str] = ("one", "other")) -> None:
    """Checks that two networks have the same layers of the same shapes.

    Raises:
      ValueError: if not, with the first layer that differs.
    """
    shapes = [{name: {k: jnp.shape(x) for k, x in net[name].items()} for name in net} for net in (one, other)]
    differ = sorted(name for name in {**one, **other} if shapes[0].get(name) != shapes[1].get(name))
    if differ:
        known = [found.get(differ[0], "none") for found in shapes]
        raise ValueError(
            f"{names[0]} and {names[1]} have different layers {differ[0]!r}: {known[0]} and {known[1]}; they must be "
            "of one architecture, form and width, all with or all without the layers of an own vector"
        )


def _same(networks: Sequence[Params], block: int) -> bool:
    """Whether all networks have the same numbers in a block, to rounding; they have the same layers."""
    first, *others = networks
    return all(
        _close(leaf, np.asarray(x), np.asarray(other[name][leaf]))
        for name, leaves in first.items()
        if block_of(name) == block
        for leaf, x in leaves.items()
        for other in others
    )


def _close(leaf: str, one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are equal, or, where folding changes them, to rounding: kernels channel by channel."""
    if leaf in STATISTICS:
        return np.array_equal(one, other)
    axes = tuple(range(one.ndim - 1)) if leaf == "kernel" else None
    return bool((np.abs(one - other).max(axes) <= ROUNDING * np.abs(one).max(axes)).all())
