"""Export of a trained network for others: programs that match without this library, or a state dict for torch.

    python -m experiments.export --weights=OUT --form=serving --out=dsr.zip
    python -m experiments.export --weights=OUT --form=torchvision --out=vgg16.safetensors
    python -m experiments.export --weights=OUT --form=torchreid --out=osnet.safetensors

`serving` writes extraction and matching as two programs of `jax.export` with the weights inside, and says in
`card.json` which arrays they take (see `dsr_jax.serving`). `torchvision`, and `torchreid` of an OSNet, write the
network under these names, without its classifier (see `dsr_jax.weights.save`).
"""

import os
from dataclasses import dataclass, fields

from data.binding import setting
from dsr_jax import serving, weights
from dsr_jax.formats import atomic
from experiments import run
from experiments.settings import networks


@dataclass(frozen=True)
class File:
    """File."""

    out: str | None = setting(None, "The file: .zip of `serving`, else .safetensors.", path=True)
    form: str = setting("serving", "For whom.", choices=("serving", "torchvision", "torchreid"))


@dataclass(frozen=True)
class Serving:
    """Programs of --form=serving."""

    serve_scales: tuple[int, ...] = setting(
        (1, 2, 3),
        "Sides of the windows whose averages are blocks.",
        wanted="whole numbers of at least 1 such as 1,2,3",
        check=lambda values: bool(values) and min(values) > 0,
    )
    l1: float = setting(0.4, "Weight of the L1 penalty in matching.", aliases=("serve_l1",))
    serve_shots: int = setting(1, "The most gallery images of one person.", low=1)
    serve_platforms: tuple[str, ...] = setting(
        ("cpu",), f"Where the programs will run, of {', '.join(serving.PLATFORMS)}."
    )


@dataclass(frozen=True)
class Settings:
    """Settings of this runner."""

    file: File = File()
    network: networks.Trained = networks.Trained()
    serving: Serving = Serving()
    given: frozenset[str] = frozenset()

    def check(self) -> str:
        """The --out file."""
        if self.file.form != "serving":
            for name in ("size", "output_stride", *(field.name for field in fields(Serving))):
                if name in self.given:
                    raise ValueError(f"{name} has no effect with --form={self.file.form}: leave it out")
        if not self.file.out:
            raise ValueError("out is missing: give --out=FILE")
        atomic.check_file(self.file.out, remedy="give another --out=FILE")
        return self.file.out


def main(settings: Settings) -> None:
    """The runner."""
    out = settings.check()
    network = settings.network.read()
    card = network.card
    if settings.file.form != "serving":
        weights.save(out, network.params, card, naming=settings.file.form)
        print(
            f"{card.architecture} for input of {card.preprocessing!r} preprocessing under {settings.file.form}'s names"
        )
    else:
        size, stride = settings.network.of_card(card)
        written = serving.save(
            out,
            network.params,
            card,
            size=size,
            output_stride=stride,
            scales=settings.serving.serve_scales,
            l1=settings.serving.l1,
            shots=settings.serving.serve_shots,
            platforms=settings.serving.serve_platforms,
        )
        shapes = [" x ".join(map(str, written[name])) for name in ("image_shape", "map_shape")]
        print(f"images of up to {shapes[0]}, maps of up to {shapes[1]}, for {', '.join(written['platforms'])}")
    print(f"written: {out}, {os.path.getsize(out) / 1e6:.1f} MB")


if __name__ == "__main__":
    run.main(main, Settings)
