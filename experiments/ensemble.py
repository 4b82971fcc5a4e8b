"""One network of several that were trained apart: its map is theirs, one behind another.

    python -m experiments.ensemble --first=RUN --second=RUN --third=RUN --out=ensemble.safetensors

Networks of one recipe and other seeds (--seeds of a training, or --seed) err on other pictures: together they find more
than the best of them (docs/results.md, 12). The file is used like any other network: --weights=ensemble.safetensors of
evaluate, sweep, search, serve and export. Maps have as many channels as all networks together; the first blocks that
all networks have in common, because no training changed them, run once. It cannot be trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.binding import setting
from dsr_jax import ensemble, networks, weights
from dsr_jax.formats import atomic, input_convention
from experiments import run
from experiments.evaluation import unseen


@dataclass(frozen=True)
class Members:
    """Networks."""

    first: str | None = setting(None, "A weights file, or the workdir of a training run.", path=True)
    second: str | None = setting(None, "Another, of the same architecture and width.", path=True)
    third: str | None = setting(None, "One more, if there is one. Ensembles count as all their networks.", path=True)
    preprocessing: str | None = setting(
        None,
        "What the networks expect of their input, where neither cards nor numbers tell.",
        choices=tuple(sorted(input_convention.MEANING)),
    )
    out: str | None = setting(None, "The file: .safetensors.", path=True)


@dataclass(frozen=True)
class Settings:
    """Settings of this runner."""

    members: Members = Members()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """The runner."""
    given = settings.members
    if not given.first or not given.second:
        raise ValueError("first and second are needed: weights files or workdirs of networks that were trained apart")
    if not given.out:
        raise ValueError("out is missing: give --out=FILE.safetensors")
    if Path(given.out).suffix != ".safetensors":
        raise ValueError(f"out={given.out}: the file is written as .safetensors; choose such a name")
    atomic.check_file(given.out, remedy="give another --out=FILE.safetensors")
    names = [given.first, given.second, *([given.third] if given.third else [])]
    if Path(given.out).resolve() in [weights.locate(name).resolve() for name in names]:
        raise ValueError(f"out={given.out} is one of the networks: give another --out=FILE.safetensors")
    read = [weights.read(name, preprocessing=given.preprocessing) for name in names]
    for name, network in zip(names, read, strict=True):
        for remark in network.remarks:
            print(f"{name}: {remark}", flush=True)
    card = described(dict(zip(names, (network.card for network in read), strict=True)))
    params = ensemble.of([network.params for network in read])
    weights.save(given.out, params, card)
    shared = ensemble.shared_blocks(params)
    print(
        f"{len(ensemble.members(params))} networks of {card.architecture}, width {card.width:g}: maps of "
        f"{networks.channels(params)} channels, {shared} of 5 blocks are the same in all and run once"
    )
    print(f"written: {given.out}, {Path(given.out).stat().st_size / 1e6:.1f} MB")


def described(cards: Mapping[str, weights.Card]) -> weights.Card:
    """The card of an ensemble.

    Args:
      cards: those of its networks, by what they are called.

    Raises:
      ValueError: if they are not of one architecture and width, or want other input.
    """
    wanted = {name: _wanted(card) for name, card in cards.items()}
    first, *others = wanted
    for other in others:
        for what, value in wanted[first].items():
            if wanted[other][what] != value:
                raise ValueError(
                    f"networks must have the same {what}: {first} has {value}, {other} {wanted[other][what]}"
                )
    one, each = cards[first], list(cards.values())
    extra: dict[str, Any] = {unseen.MEMBERS: [said for card in each for said in unseen.members(card)]}
    if any(card.extra.get("size") for card in each):  # what no card says is left to its reader
        extra["size"] = wanted[first]["size"]
    stride = next((card.output_stride for card in each if card.output_stride), None)
    return weights.Card(one.architecture, one.width, stride, one.preprocessing, extra=extra)


def _wanted(card: weights.Card) -> dict[str, Any]:
    name = card.architecture
    return {
        "architecture": name,
        "width": card.width,
        "preprocessing": card.preprocessing,
        "output_stride": networks.output_stride(name, card.output_stride),
        "size": list(card.extra.get("size") or networks.size(name)),
    }


if __name__ == "__main__":
    run.main(main, Settings)
