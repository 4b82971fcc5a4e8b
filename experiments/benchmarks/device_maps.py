"""Maps of part `accelerator`: those of a file where one is given, else stand-ins, as many as keep a device busy.

Few maps are enough: more are copies with log-normal noise of `NOISE`, which changes neither the share of the columns
that need no coding nor the number of non-zero codes. `Work` counts both, since they decide the time of a coder.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dsr_jax.solvers import active_set
from experiments.benchmarks import stand_ins
from experiments.benchmarks.maps import Maps, MapSet, Store
from experiments.benchmarks.problem import Problem
from experiments.benchmarks.stand_ins import Look

SCALES = {"single": (1,), "multi": (1, 2, 3)}
NOISE = 0.05
DRAWN = 40  # people that are drawn; the others are copies
VGG_SHAPE = (10, 3, 512)


class Network(NamedTuple):
    """Maps of a network: its name here and in a file of maps, and how its stand-ins are drawn."""

    name: str
    key: str
    shape: tuple[int, ...]
    look: Look


class Work(NamedTuple):
    """Share of the columns that w = 0 solves, and mean number of non-zero codes of a column."""

    zero: float
    codes: float


def sets(
    names: Sequence[str], store: Store, *, probes: int, gallery: int, osnet_shape: tuple[int, ...], seed: int
) -> list[MapSet]:
    """Sets of VGG and OSNet maps, single- and multi-scale.

    Args:
      names: of `settings.SETS`.
      store: file of maps, which may have some.
      probes: number of probe maps.
      gallery: number of gallery maps.
      osnet_shape: (h, w, d) of stand-ins for OSNet's maps.
      seed: of stand-ins and noise.
    """
    known = (
        Network("vgg", "vgg", VGG_SHAPE, stand_ins.VGG),
        Network("osnet", "onnx", osnet_shape, stand_ins.OSNET),
    )
    found = []
    for network in known:
        ways = {way: scales for way, scales in SCALES.items() if f"{network.name}_{way}" in names}
        if not ways:
            continue
        few, many, source = _few(network, store, min(probes, DRAWN), min(gallery, DRAWN), seed)
        x, y = _enlarged(few, probes, seed=seed), _enlarged(many, gallery, seed=seed + 1)
        source = f"{source}; {len(few)} probe and {len(many)} gallery maps, the others copies with {NOISE:.0%} noise"
        found += [MapSet(f"{network.name}_{way}", x, y, scales, source) for way, scales in ways.items()]
    return found


def work(problem: Problem) -> Work:
    """What is to be coded, counted in float64."""
    x = problem.columns
    energy, zero, codes = np.sum(x * x, axis=1), [], []
    for y in problem.gallery:
        correlation = x @ y.T
        weights, _ = active_set.codes(y @ y.T, correlation, energy, l1=problem.l1, tol=1e-9)
        zero.append(np.mean(np.abs(correlation).max(axis=1) <= problem.l1))
        codes.append(np.mean(np.count_nonzero(weights, axis=0)))
    return Work(float(np.mean(zero)), float(np.mean(codes)))


def _few(network: Network, store: Store, probes: int, gallery: int, seed: int) -> tuple[Maps, Maps, str]:
    """Real maps if the file has them, or drawn ones; and which."""
    x, y = (store.stored(f"{network.key}_{side}") for side in ("probe", "gallery"))
    if x and y:
        return x[:probes], y[:gallery], "maps given (--kept_maps)"
    whole = stand_ins.drawn(probes, shape=network.shape, seed=seed, view=1, look=network.look)
    drawn = stand_ins.drawn(gallery, shape=network.shape, seed=seed, look=network.look)
    return stand_ins.cropped(whole, seed=seed), drawn, "STAND-INS, drawn at random: --kept_maps has none"


def _enlarged(maps: Maps, count: int, *, seed: int) -> Maps:
    """The maps, and noisy copies of them up to a number."""
    return [*maps[:count], *stand_ins.perturbed(maps, max(0, count - len(maps)), seed=seed, noise=NOISE)]
