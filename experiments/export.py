"""A trained network for others: programs that match without this library, or a state dict for torch.

    python -m experiments.export --weights=OUT --form=serving --out=dsr.zip
    python -m experiments.export --weights=OUT --form=torchvision --out=vgg16.safetensors

`serving` writes extraction and matching as two programs of `jax.export` with the weights inside, and says in
`card.json` which arrays they take (see `dsr_jax.serving`). `torchvision` writes the network under torchvision's names,
without its classifier (see `dsr_jax.weights.save`).
"""

import os

from absl import flags

from data import command
from dsr_jax import serving, weights
from dsr_jax.formats import atomic
from experiments import run, settings

FLAGS = flags.FLAGS
command.define_path("out", None, "The file: .zip of `serving`, .safetensors of `torchvision`.")
flags.DEFINE_enum("form", "serving", ["serving", "torchvision"], "For whom.")
flags.DEFINE_list("serve_scales", ["1", "2", "3"], "serving: sides of the windows whose averages are blocks.")
flags.DEFINE_float("serve_l1", 0.4, "serving: weight of the L1 penalty in matching.")
flags.DEFINE_integer("serve_shots", 1, "serving: the most gallery images of one person.", lower_bound=1)
flags.DEFINE_list(
    "serve_platforms", ["cpu"], f"serving: where the programs will run, of {', '.join(serving.PLATFORMS)}."
)
# Flags that only this form has.
SERVING = ("serve_scales", "serve_l1", "serve_shots", "serve_platforms", "size", "output_stride")
BESIDE = ("workdir", "dataset", "data_dir", "holdout", "seed", "compute")  # that come with the settings


def main() -> None:
    """The runner."""
    settings.refuse(BESIDE if FLAGS.form == "serving" else BESIDE + SERVING)
    for name in ("weights", "out"):
        if not FLAGS[name].value:
            raise ValueError(f"{name} is missing: give --{name}=FILE")
    atomic.check_file(FLAGS.out, remedy="give another --out=FILE")
    network = settings.given_network()
    card = network.card
    if FLAGS.form == "torchvision":
        weights.save(FLAGS.out, network.params, card, naming="torchvision")
        print(f"{card.architecture} for input of {card.preprocessing!r} preprocessing under torchvision's names")
    else:
        said = serving.save(
            FLAGS.out,
            network.params,
            card,
            size=settings.size(card.extra.get("size")),
            output_stride=settings.output_stride(card.output_stride),
            scales=settings.integers("serve_scales"),
            l1=FLAGS.serve_l1,
            shots=FLAGS.serve_shots,
            platforms=FLAGS.serve_platforms,
        )
        shapes = [" x ".join(map(str, said[name])) for name in ("image_shape", "map_shape")]
        print(f"images of up to {shapes[0]}, maps of up to {shapes[1]}, for {', '.join(said['platforms'])}")
    print(f"written: {FLAGS.out}, {os.path.getsize(FLAGS.out) / 1e6:.1f} MB")


if __name__ == "__main__":
    run.main(main)
