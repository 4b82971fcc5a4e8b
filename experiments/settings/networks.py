"""Which network, at which size."""

from dataclasses import dataclass
from typing import Any

from data.binding import setting
from dsr_jax import networks
from dsr_jax import weights as weight_files
from dsr_jax.formats import input_convention


@dataclass(frozen=True)
class Trained:
    """Network."""

    weights: str | None = setting(
        None,
        "A weights file of NumPy, safetensors, torch or ONNX, whatever its name, or the workdir of a training run; "
        "training runners start from random parameters without it.",
        path=True,
    )
    preprocessing: str | None = setting(
        None,
        "What the network of --weights expects of its input, where neither a card nor its numbers tell: "
        f"{'; '.join(f'{name}: {what}' for name, what in input_convention.MEANING.items())}.",
        choices=tuple(sorted(input_convention.MEANING)),
    )
    size: tuple[int, int] | None = setting(
        None,
        "Height,width in pixels to which whole images are brought; default: the weights' own, else 320,120, of OSNet "
        "256,128.",
        wanted="height,width such as 320,120",
        check=lambda sides: len(sides) == 2 and min(sides) > 0,
    )
    output_stride: str | None = setting(
        None,
        "Pixels per map position, 16 leaves the last pool out; default: the weights' own, else 32. OSNet has 16 alone.",
        choices=("16", "32"),
    )

    def of_card(self, card: weight_files.Card) -> tuple[tuple[int, int], int]:
        """Size of whole images and output stride: the flags, else the card's, else the network's."""
        name = card.architecture
        height, width = (int(side) for side in self.size or card.extra.get("size") or networks.size(name))
        stride = self.output_stride or card.output_stride
        return (height, width), networks.output_stride(name, int(stride) if stride else None)

    def read(self) -> weight_files.Network:
        """The network of --weights; prints how it was read."""
        if not self.weights:
            raise ValueError(
                "weights is missing: give --weights=FILE (.npz, .safetensors, .pth, .onnx) or a training run's workdir"
            )
        network = weight_files.read(self.weights, preprocessing=self.preprocessing)
        for remark in network.remarks + self._otherwise(network.card):
            print(f"{self.weights}: {remark}", flush=True)
        return network

    def refuse_without_weights(self) -> None:
        """Raises ValueError if a flag says something of the network of --weights, and there is none."""
        if self.preprocessing is not None:
            raise ValueError(
                f"preprocessing={self.preprocessing} says what the network of --weights expects: give --weights with "
                "it, or leave it out"
            )

    def _otherwise(self, card: weight_files.Card) -> list[str]:
        """Where the flags deliberately run a network otherwise than it was trained, in words."""
        size, stride = self.of_card(card)
        trained = {"size": (tuple(card.extra.get("size") or ()), size), "output_stride": (card.output_stride, stride)}
        return [
            f"--{name}={_written(now)} is used; it was trained with {_written(before)}"
            for name, (before, now) in trained.items()
            if before and before != now
        ]


@dataclass(frozen=True)
class Network(Trained):
    """Network."""

    compute: str = setting("float32", "Type of the network's arithmetic.", choices=("float32", "bfloat16"))


@dataclass(frozen=True)
class Fresh:
    """Network that starts from random parameters."""

    architecture: str | None = setting(
        None,
        "Which network, default vgg16; with --weights the file says which it is, and this may only say the same.",
        choices=tuple(sorted(networks.INIT)),
    )
    width: float | None = setting(
        None, "Channel multiplier, default 1; with --weights the file says it, and this may only say the same."
    )


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
