"""Flags that every runner has: where things are, which network, at which size."""

from collections.abc import Iterable
from typing import Any

from absl import flags

from data import command
from dsr_jax import weights
from dsr_jax.formats import input_convention

FLAGS = flags.FLAGS
PAPER_SIZE, PAPER_STRIDE = (320, 120), 32

command.define_path("workdir", None, "Folder of this run: config, log, metrics, report. One configuration each.")
flags.DEFINE_string("dataset", "synthetic", "Prepared data set: synthetic, cuhk03 or folder.")
command.define_path("data_dir", "datasets", "Where `python -m data.prepare` put it.")
command.define_path(
    "weights",
    None,
    "A weights file of NumPy, safetensors or torch, whatever its name, or the workdir of a training run; training "
    "runners start from random parameters without it.",
)
flags.DEFINE_enum(
    "preprocessing",
    None,
    sorted(input_convention.MEANING),
    "What the network of --weights expects of its input, where neither a card nor its numbers tell: "
    f"{'; '.join(f'{name}: {what}' for name, what in input_convention.MEANING.items())}.",
)
flags.DEFINE_list(
    "size", None, "Height,width in pixels to which whole images are brought; default: the weights' own, else 320,120."
)
flags.DEFINE_enum(
    "output_stride",
    None,
    ["16", "32"],
    "Pixels per map position, 16 leaves the last pool out; default: the weights' own, else 32.",
)
flags.DEFINE_integer("holdout", 0, "Training identities (the last ones) kept for choosing flags.", lower_bound=0)
flags.DEFINE_integer("seed", 0, "Seed of everything random in this run.", lower_bound=0)
flags.DEFINE_enum("compute", "float32", ["float32", "bfloat16"], "Type of the network's arithmetic.")
flags.DEFINE_bool("progress", True, "Show progress bars.")


def size(card_size: list | tuple | None = None) -> tuple[int, int]:
    """Height and width of whole images: the flag, else the weights' own, else the paper's.

    Raises:
      ValueError: if the flag is not two positive numbers.
    """
    given = FLAGS.size if FLAGS.size is not None else (card_size or PAPER_SIZE)
    try:
        height, width = (int(side) for side in given)
    except ValueError:
        raise ValueError(f"size must be height,width such as 320,120, got {','.join(map(str, given))}") from None
    if height < 1 or width < 1:
        raise ValueError(f"size must be positive, got {height},{width}")
    return height, width


def integers(flag: str) -> tuple[int, ...]:
    """The values of a list flag, whole numbers of at least 1.

    Raises:
      ValueError: if they are not.
    """
    given = [str(value) for value in FLAGS[flag].value or ()]
    if not given or not all(value.strip().isdecimal() and int(value) > 0 for value in given):
        raise ValueError(f"{flag} must be whole numbers of at least 1 such as 1,3, got {','.join(given) or 'nothing'}")
    return tuple(int(value) for value in given)


def shares(flag: str) -> tuple[float, float]:
    """The values of a list flag, two numbers.

    Raises:
      ValueError: if they are not two numbers with 0 < smallest <= largest <= 1.
    """
    given = [str(value) for value in FLAGS[flag].value or ()]
    try:
        low, high = (float(value) for value in given)
    except ValueError:
        low, high = 0.0, 0.0
    if not 0 < low <= high <= 1:
        raise ValueError(f"{flag} must be two shares in (0, 1] such as 0.5,0.75, got {','.join(given) or 'nothing'}")
    return low, high


def refuse(names: Iterable[str]) -> None:
    """Raises ValueError if one of the flags, which this runner only has because it shares others, was given."""
    for name in names:
        if FLAGS[name].value != FLAGS[name].default:
            raise ValueError(f"{name} has no effect here; see --help for what has")


def given_network() -> weights.Network:
    """The network of --weights; prints how it was read.

    Raises:
      ValueError: if the file is no network, or flags and file contradict one another.
    """
    network = weights.read(FLAGS.weights, preprocessing=FLAGS.preprocessing)
    for remark in network.remarks + _other_than(network.card):
        print(f"{FLAGS.weights}: {remark}", flush=True)
    return network


def refuse_without_weights() -> None:
    """Raises ValueError if a flag says something of the network of --weights, and there is none."""
    if FLAGS.preprocessing is not None:
        raise ValueError(
            f"preprocessing={FLAGS.preprocessing} says what the network of --weights expects: give --weights with it, "
            "or leave it out"
        )


def _other_than(card: weights.Card) -> list[str]:
    """Where the flags deliberately run a network otherwise than it was trained, in words."""
    trained = {"size": tuple(card.extra.get("size") or ()), "output_stride": card.output_stride}
    now = {"size": size(card.extra.get("size")), "output_stride": output_stride(card.output_stride)}
    return [
        f"--{name}={_written(now[name])} is used; it was trained with {_written(value)}"
        for name, value in trained.items()
        if value and value != now[name]
    ]


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def output_stride(card_stride: int | None = None) -> int:
    """The flag, else the weights' own, else the paper's 32."""
    return int(FLAGS.output_stride or card_stride or PAPER_STRIDE)


def workdir_given() -> str:
    """The --workdir.

    Raises:
      ValueError: if it is missing.
    """
    if not FLAGS.workdir:
        raise ValueError("workdir is missing: give --workdir=FOLDER for config, log, metrics and report")
    return FLAGS.workdir
