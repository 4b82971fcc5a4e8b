"""What pre-training and fine-tuning share: flags, and the network they start from; the loop is `loop`."""

import copy
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import data
from data import command, decoded, views
from dsr_jax import fcn, losses, networks, weights
from dsr_jax.parallel import hosts, sharding
from experiments import settings
from experiments.run import FREE_FLAGS, Workdir
from experiments.training import batches, frozen, own_size, steps
from experiments.training.validation import Validation

FLAGS = flags.FLAGS
flags.DEFINE_enum(
    "architecture",
    None,
    sorted(networks.INIT),
    "Network that starts from random parameters, default vgg16; with --weights the file says which it is, and this may "
    "only say the same.",
)
flags.DEFINE_float(
    "width",
    1.0,
    "Channel multiplier of a randomly initialised network; with --weights the file says it, and this may only say the "
    "same.",
)
flags.DEFINE_integer(
    "frozen_blocks", 0, "Blocks 1 to this number of the network's five are not trained.", lower_bound=0, upper_bound=4
)
flags.DEFINE_integer(
    "frozen_views",
    0,
    "Views of each kind per image whose frozen-block outputs are kept on disk; 0: "
    "draw views at every step and run the frozen blocks again.",
    lower_bound=0,
)
command.define_path("frozen_cache", None, "Folder of those outputs; default: inside the workdir. Runs may share it.")
flags.DEFINE_float("mirror", 0.5, "Augmentation: probability of a left-right flip.")
flags.DEFINE_float("shift", 0.05, "Augmentation: largest shift as a share of each side.")
flags.DEFINE_float("colour", 0.2, "Augmentation: largest relative change of brightness, contrast, saturation.")
flags.DEFINE_float("erase", 0.5, "Augmentation: probability of erasing a rectangle.")
flags.DEFINE_float("smoothing", 0.1, "Label smoothing of the identification loss.", lower_bound=0.0, upper_bound=1.0)
flags.DEFINE_enum(
    "sampling",
    "shuffled",
    ["shuffled", "balanced"],
    "What a batch holds: the next images (or pairs) of a shuffled epoch, or --images_per_identity of each of its "
    "identities, who come equally often.",
)
flags.DEFINE_integer("images_per_identity", 4, "Of a batch, with --sampling=balanced.", lower_bound=1)
flags.DEFINE_integer(
    "image_memory",
    1000,
    "Megabytes of decoded images held; others are decoded at each use. As many again of what frozen blocks make of the "
    "pictures of --validate_every.",
    lower_bound=0,
)


def finished(workdir: Workdir) -> bool:
    """Whether the run has its final numbers already; says so."""
    found = workdir.metrics()
    if found:
        print(
            f"{workdir.path} has finished: metrics.json and {weights.WORKDIR_FILE} are there; remove it to start anew"
        )
    return bool(found)


class Start:
    """What a run begins with, built from the flags: the people, their views, the network and its head.

    Args:
      workdir: it is begun here.
      batch_sizes: flags that name the size of a batch of the run.
      buckets: padded shapes of images that keep their own size; 0: all have one size.
    """

    def __init__(self, workdir: Workdir, *, batch_sizes: Sequence[str], buckets: int = 0):
        """Reads and checks data and weights, begins the workdir, then opens the images or the frozen outputs."""
        source = data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir)
        self.people, self.held_out = batches.people(source, holdout=FLAGS.holdout)
        self.identities = int(self.people.classes.max()) + 1
        self.per_identity = _per_identity()
        for name in batch_sizes:
            size: Any = FLAGS[name].value
            try:
                batches.check(self.people.classes, size, per_identity=self.per_identity)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        self.params, self.head, self.card = self._network()
        self.trunk = steps.Trunk(
            output_stride=settings.output_stride(self.card.output_stride),
            first_block=FLAGS.frozen_blocks + 1 if FLAGS.frozen_views else 1,
            frozen_blocks=FLAGS.frozen_blocks,
            convention=self.card.preprocessing,
            dtype=FLAGS.compute,
        )
        self.size = settings.size(self.card.extra.get("size"))
        _check_size(self.size, self.trunk.output_stride)
        if FLAGS.frozen_views and not FLAGS.frozen_blocks:
            raise ValueError("frozen_views keeps outputs of frozen blocks: give --frozen_blocks of at least 1 with it")
        if FLAGS.frozen_views and FLAGS.frozen_cache:
            frozen.check(Path(FLAGS.frozen_cache))
        if buckets and FLAGS.frozen_views:
            raise ValueError("buckets keeps images at their own size, frozen_views needs one: give one of the two")
        if buckets > 1 and self.per_identity:
            raise ValueError("sampling=balanced mixes padded shapes in a batch: give --buckets=1 or 0 with it")
        workdir.begin()
        self.views = self._views(workdir, buckets)

    def after(self, state: steps.State) -> "Start":
        """The same start with the network and head that ``state`` has reached."""
        later = copy.copy(self)
        later.params = {**self.frozen(), **jax.tree.map(np.asarray, state.network)}
        later.head = jax.tree.map(np.asarray, state.params["head"])
        return later

    def validation(self) -> Validation | None:
        """How the networks of this run are validated, if the flags say that they are."""
        if not FLAGS.validate_every:
            return None
        how: dict[str, Any] = {"convention": self.card.preprocessing, "output_stride": self.trunk.output_stride}
        return Validation(self.size, frozen_blocks=FLAGS.frozen_blocks, **how)

    def frozen(self) -> fcn.Params:
        """The parameters that are not trained."""
        return {name: layer for name, layer in self.params.items() if int(name[5]) <= FLAGS.frozen_blocks}

    def _network(self) -> tuple[fcn.Params, losses.Head, weights.Card]:
        key, head_key = jax.random.split(jax.random.key(FLAGS.seed))
        if FLAGS.weights:
            params, card = settings.given_network()
            if FLAGS.architecture not in (None, card.architecture):
                raise ValueError(
                    f"weights {FLAGS.weights} are a {card.architecture}'s and architecture={FLAGS.architecture}: leave "
                    "--architecture out, or give other --weights"
                )
            if FLAGS["width"].present and FLAGS.width != card.width:
                raise ValueError(
                    f"weights {FLAGS.weights} are of width {card.width:g} and width={FLAGS.width:g}: leave --width "
                    "out, or give other --weights"
                )
            head = weights.load_head(FLAGS.weights)
            if head and card.extra.get("dataset") != FLAGS.dataset:
                whose = card.extra.get("dataset", "of people or things that it does not name")
                print(
                    f"the classifier of {FLAGS.weights}, {head['bias'].size} classes, is {whose}: a new one is learnt"
                )
                head = {}
        else:
            settings.refuse_without_weights()
            # Inputs of unit scale: without batch normalisation a random network keeps the scale of what it is given.
            architecture = FLAGS.architecture or "vgg16"
            card = weights.Card(architecture=architecture, width=FLAGS.width, preprocessing="torch")
            params, head = networks.init(architecture, key, width=FLAGS.width), {}
        if not head:
            head = losses.init_head(head_key, width=networks.channels(params), identities=self.identities)
        if head["bias"].size != self.identities:
            raise ValueError(
                f"weights {FLAGS.weights} classify {head['bias'].size} identities, the training data have "
                f"{self.identities}: use the same --dataset and --holdout, or a file without a head"
            )
        return params, head, card

    def _views(self, workdir: Workdir, buckets: int) -> batches.Views:
        augmentation = views.Augmentation(FLAGS.mirror, FLAGS.shift, FLAGS.colour, FLAGS.erase)
        drawn: dict[str, Any] = {"augmentation": augmentation, "limit": FLAGS.image_memory * decoded.MEGABYTE}
        if buckets:
            own = {"stride": self.trunk.output_stride, "buckets": buckets, "progress": FLAGS.progress}
            return own_size.OwnSizeViews(self.people, **own, **drawn)
        images = functools.partial(batches.ImageViews, self.people, size=self.size, **drawn)
        if not FLAGS.frozen_views:
            return images()
        digest = hashlib.sha256()
        for name, layer in sorted(self.frozen().items()):
            digest.update(name.encode())
            for leaf in sorted(layer, reverse=True):  # kernel and bias, or var, scale, mean and bias
                digest.update(np.asarray(layer[leaf]).tobytes())
        fingerprint = {
            "frozen_weights": digest.hexdigest(),
            "dataset": FLAGS.dataset,
            "data": workdir.flags["data"],
            "images": len(self.people.positions),
            "size": list(self.size),
            "output_stride": self.trunk.output_stride,
            "augmentation": list(augmentation),
            "seed": FLAGS.seed,
        }
        folder = workdir.path / "frozen" if FLAGS.frozen_cache is None else FLAGS.frozen_cache
        return frozen.FrozenViews(
            Path(folder),
            images,
            self.params,
            fingerprint=fingerprint,
            count=len(self.people.positions),
            number=FLAGS.frozen_views,
            trunk=self.trunk,
            seed=FLAGS.seed,
            progress=FLAGS.progress,
        )


def share(rows: int) -> batches.Share:
    """What this process draws of a batch: its own rows, or, where the devices do not divide it evenly, everything."""
    if rows % sharding.mesh().size:
        return batches.EVERYTHING
    return batches.Share(jax.process_index(), hosts.count())


def _per_identity() -> int:
    """Images of each identity in a batch; 0: batches are shuffled."""
    if FLAGS.sampling == "balanced":
        return int(FLAGS.images_per_identity)
    if FLAGS.images_per_identity != FLAGS["images_per_identity"].default:
        raise ValueError("images_per_identity is for balanced batches: give --sampling=balanced with it")
    return 0


def _check_size(size: tuple[int, int], stride: int) -> None:
    """The smallest patch must have a map."""
    smallest = views.smallest_patch(size)
    if min(smallest) < stride:
        raise ValueError(
            f"size is {size[0]},{size[1]}: its smallest patch of {smallest[0]} x {smallest[1]} pixels is below one "
            f"output cell of {stride} x {stride}: enlarge --size, or use --output_stride=16"
        )


def finish(workdir: Workdir, start: Start, *, phase: str, scores: Mapping[str, Any]) -> None:
    """Writes the trained network (with its head, and a card that says how it was trained) into the workdir.

    Flags that change no result are not on the card: the same training gives the same file.
    """
    # --evaluate says what is done with the network afterwards; of --weights the content counts, not the path.
    untrained = FREE_FLAGS | {"evaluate", "weights"}
    defined = {name: value for name, value in workdir.flags.items() if name not in untrained}
    trained = json.loads(json.dumps({"flags": defined, "scores": dict(scores)}, default=str))
    card = weights.Card(
        architecture=start.card.architecture,
        width=start.card.width,
        output_stride=start.trunk.output_stride,
        preprocessing=start.card.preprocessing,
        extra={"phase": phase, "dataset": FLAGS.dataset, "size": list(start.size), "seed": FLAGS.seed, **trained},
    )
    if hosts.first():
        weights.save(workdir.path / weights.WORKDIR_FILE, start.params, card, head=start.head)
    print(f"trained network: {workdir.path / weights.WORKDIR_FILE}")
