"""What pre-training and fine-tuning share: flags, the network they start from, the loop.

The loop's order: restore the newest checkpoint; draw the batch of each step (a function of seed and step alone); step;
log; stop on NaN naming the step; save every so often. So a run that was killed goes on as if it had not been.
"""

import copy
import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import flags
from tqdm import tqdm

import data
from data import views
from dsr_jax import fcn, losses, weights
from dsr_jax.checkpoint import Checkpoints
from experiments import batches, frozen, settings, steps
from experiments.run import Workdir

FLAGS = flags.FLAGS
flags.DEFINE_float("width", 1.0, "Channel multiplier of a randomly initialised VGG-16.")
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
flags.DEFINE_string("frozen_cache", None, "Folder of those outputs; default: inside the workdir. Runs may share it.")
flags.DEFINE_float("mirror", 0.5, "Augmentation: probability of a left-right flip.")
flags.DEFINE_float("shift", 0.05, "Augmentation: largest shift as a share of each side.")
flags.DEFINE_float("colour", 0.2, "Augmentation: largest relative change of brightness, contrast, saturation.")
flags.DEFINE_float("erase", 0.5, "Augmentation: probability of erasing a rectangle.")
flags.DEFINE_float("smoothing", 0.1, "Label smoothing of the identification loss.", lower_bound=0.0, upper_bound=1.0)
flags.DEFINE_integer("checkpoint_every", 200, "Steps between checkpoints.", lower_bound=1)


def finished(workdir: Workdir) -> bool:
    """Whether the run has its final numbers already; says so."""
    found = workdir.metrics()
    if found:
        print(
            f"{workdir.path} has finished: metrics.json and {weights.WORKDIR_FILE} are there; remove it to start anew"
        )
    return bool(found)


class Start:
    """What a run begins with, built from the flags: the people, their views, the network and its head."""

    def __init__(self, workdir: Workdir):
        """Reads and checks data and weights, begins the workdir, then reads the images or opens the frozen outputs."""
        source = data.load(FLAGS.dataset, "train", data_dir=FLAGS.data_dir)
        self.people, self.held_out = batches.people(source, holdout=FLAGS.holdout)
        self.identities = int(self.people.classes.max()) + 1
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
        workdir.begin()
        self.views = self._views(workdir)

    def after(self, state: steps.State) -> "Start":
        """The same start with the network and head that ``state`` has reached."""
        later = copy.copy(self)
        later.params = {**self.frozen(), **jax.tree.map(np.asarray, state.params["network"])}
        later.head = jax.tree.map(np.asarray, state.params["head"])
        return later

    def frozen(self) -> fcn.Params:
        """The parameters that are not trained."""
        return {name: layer for name, layer in self.params.items() if int(name[5]) <= FLAGS.frozen_blocks}

    def _network(self) -> tuple[fcn.Params, losses.Head, weights.Card]:
        key, head_key = jax.random.split(jax.random.key(FLAGS.seed))
        if FLAGS.weights:
            params, card = weights.load(FLAGS.weights), weights.read_card(FLAGS.weights)
            if card.architecture != "vgg16":
                raise ValueError(
                    f"weights {FLAGS.weights} are a {card.architecture}'s: pretrain and finetune train the VGG-16; "
                    "evaluate takes either, and resnet.train is the forward pass for a training loop of your own"
                )
            head = weights.load_head(FLAGS.weights)
            if head and card.extra.get("dataset", FLAGS.dataset) != FLAGS.dataset:
                print(f"the classifier of {FLAGS.weights} is {card.extra['dataset']}'s: a new one is learnt")
                head = {}
        else:
            # Inputs of unit scale: without batch normalisation a random network keeps the scale of what it is given.
            card = weights.Card(width=FLAGS.width, preprocessing="torch")
            params, head = fcn.init(key, width=FLAGS.width), {}
        if not head:
            width = params["block5_conv3"]["bias"].size
            head = losses.init_head(head_key, width=width, identities=self.identities)
        if head["bias"].size != self.identities:
            raise ValueError(
                f"weights {FLAGS.weights} classify {head['bias'].size} identities, the training data have "
                f"{self.identities}: use the same --dataset and --holdout, or a file without a head"
            )
        return params, head, card

    def _views(self, workdir: Workdir) -> batches.Views:
        augmentation = views.Augmentation(FLAGS.mirror, FLAGS.shift, FLAGS.colour, FLAGS.erase)
        images = functools.partial(
            batches.ImageViews, self.people, size=self.size, augmentation=augmentation, progress=FLAGS.progress
        )
        if not FLAGS.frozen_views:
            return images()
        digest = hashlib.sha256()
        for name, layer in sorted(self.frozen().items()):
            digest.update(name.encode() + np.asarray(layer["kernel"]).tobytes() + np.asarray(layer["bias"]).tobytes())
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


def optimiser(
    name: str, learning_rate: float, *, count: int, head_factor: float = 1.0, clip: float = 1.0, decay: float = 5e-4
) -> optax.GradientTransformation:
    """SGD with momentum (the paper) or AdamW; warm-up over a twentieth of the steps, then a cosine to zero."""

    def rule(rate: float) -> optax.GradientTransformation:
        warm = max(1, count // 20)
        schedule = optax.warmup_cosine_decay_schedule(0.0, rate, warm, max(count, warm + 1))
        if name == "adam":
            return optax.adamw(schedule, weight_decay=decay)
        return optax.chain(optax.add_decayed_weights(decay), optax.sgd(schedule, momentum=0.9))

    rules = {"network": rule(learning_rate), "head": rule(learning_rate * head_factor)}

    def labels(params: dict[str, Any]) -> dict[str, Any]:
        return {name: jax.tree.map(lambda _, name=name: name, part) for name, part in params.items()}

    return optax.chain(optax.clip_by_global_norm(clip), optax.partition(rules, labels))


def fit(
    step: Callable[..., tuple[steps.State, steps.Figures]],
    state: steps.State,
    frozen: fcn.Params,
    dataset: grain.MapDataset,
    *,
    phase: str,
    count: int,
    workdir: Workdir,
) -> steps.State:
    """Runs ``step`` until ``count`` steps are done, from the newest checkpoint of this phase on.

    Args:
      step: (state, frozen parameters, batch) to (next state, figures); compiled here, and its state donated.
      state: the first state; it stays as it is.
      frozen: parameters that are not trained.
      dataset: the batch of each step.
      phase: what this training is called in log and checkpoints.
      count: number of steps.
      workdir: where checkpoints and log go.

    Returns:
      The state after ``count`` steps.

    Raises:
      ValueError: when a figure is not finite; the message names the step.
    """
    step = jax.jit(step, donate_argnums=0)
    state = jax.tree.map(functools.partial(jnp.array, copy=True), state)  # what is donated is nobody else's
    with Checkpoints(workdir.path / "checkpoints" / phase) as checkpoints:
        start = checkpoints.latest() or 0
        if start:
            state, _, start = checkpoints.restore(state)
            print(f"{phase}: {_restored(start, count)} from {workdir.path}", flush=True)
        workdir.forget(phase=phase, after=start)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)
        stream = iter(dataset[start:count].to_iter_dataset(options)) if start < count else iter(())
        bar = tqdm(stream, initial=start, total=count, desc=phase, unit="step", disable=not FLAGS.progress)
        for number, batch in enumerate(bar, start=start + 1):
            state, figures = step(state, frozen, batch)
            values = {name: float(value) for name, value in figures.items()}
            _check_finite(values, phase, number)
            workdir.log(phase=phase, step=number, **values)
            bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
            if number % FLAGS.checkpoint_every == 0 or number == count:
                checkpoints.save(number, state, {"phase": phase})
    return state


def _restored(start: int, count: int) -> str:
    return f"all {count} steps restored" if start == count else f"resumed at step {start} of {count}"


def _check_finite(values: dict[str, float], phase: str, number: int) -> None:
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise ValueError(
            f"{phase}: {', '.join(bad)} at step {number}: lower the learning rate and use another --workdir; "
            "nothing of this step was saved"
        )


def _check_size(size: tuple[int, int], stride: int) -> None:
    """The smallest patch must have a map."""
    smallest = views.smallest_patch(size)
    if min(smallest) < stride:
        raise ValueError(
            f"size is {size[0]},{size[1]}: its smallest patch of {smallest[0]} x {smallest[1]} pixels is below one "
            f"output cell of {stride} x {stride}: enlarge --size, or use --output_stride=16"
        )


def finish(workdir: Workdir, start: Start, *, phase: str) -> None:
    """Writes the trained network (with its head and card) into the workdir."""
    card = weights.Card(
        width=start.card.width,
        output_stride=start.trunk.output_stride,
        preprocessing=start.card.preprocessing,
        extra={"phase": phase, "dataset": FLAGS.dataset, "size": list(start.size), "seed": FLAGS.seed},
    )
    weights.save(workdir.path / weights.WORKDIR_FILE, start.params, card, head=start.head)
    print(f"trained network: {workdir.path / weights.WORKDIR_FILE}")
