"""Start of a training: the people, their views, the network and its classifier; and the file it ends with."""

import copy
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data import decoded, views
from dsr_jax import ensemble, fcn, losses, networks, osnet, weights
from dsr_jax.parallel import hosts, sharding
from experiments.evaluation import selection, unseen
from experiments.settings.training import Training
from experiments.training import batches, frozen, own_size, similar, steps, styles
from experiments.training.validation import Validation
from experiments.workdir import Workdir


class Start:
    """What a run begins with: the people, their views, the network and its head.

    Args:
      batch_sizes: flag to value of every size of a batch of the run.
      buckets: padded shapes of images that keep their own size; 0: all have one size.
    """

    def __init__(self, settings: Training, workdir: Workdir, *, batch_sizes: Mapping[str, int], buckets: int = 0):
        """Reads and checks data and weights, begins the workdir, then opens the images or the frozen outputs."""
        self.settings, kept = settings, settings.frozen
        self.similar: np.ndarray | None = None
        source = settings.data.split("train")
        how = settings.held_out
        self.people, self.held_out = batches.people(source, holdout=how.holdout, holdout_from=how.holdout_from)
        self.identities = int(self.people.classes.max()) + 1
        for name, rows in batch_sizes.items():
            try:
                batches.check(self.people.classes, self.batching(rows))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        if settings.batches.similar_people:
            similar.check(settings.batches, self.identities, batch_sizes)
        self.params, self.head, self.card = _network(settings, self.identities)
        self.size, stride = settings.network.of_card(self.card)
        self.trunk = steps.Trunk(
            output_stride=stride,
            first_block=kept.frozen_blocks + 1 if kept.frozen_views else 1,
            frozen_blocks=kept.frozen_blocks,
            convention=self.card.preprocessing,
            dtype=settings.network.compute,
        )
        _check_size(self.size, stride)
        if kept.frozen_views and kept.frozen_cache:
            frozen.check(Path(kept.frozen_cache))
        if buckets and kept.frozen_views:
            raise ValueError("buckets keeps images at their own size, frozen_views needs one: give one of the two")
        if buckets > 1 and settings.batches.images_per_identity:
            raise ValueError("images_per_identity mixes padded shapes in a batch: give --buckets=1 or 0 with it")
        if settings.update.unfold:
            osnet.check_folded(self.params)
        workdir.begin()
        pictures, read = functools.cache(lambda: self._pictures(buckets)), self.frozen()
        if settings.update.unfold:
            self.params = self._unfolded(settings.update.unfold, pictures())
        self.views = self._kept(workdir, pictures, read) if kept.frozen_views else pictures()
        if settings.batches.similar_people:
            wanted = settings.batches.similar_people
            self.similar = similar.people(self.params, self.trunk, self.views, self.people, wanted)

    def batching(self, rows: int) -> batches.Batching:
        """Batches of so many rows: this process draws its own, or all where the devices do not divide them evenly."""
        share = batches.EVERYTHING
        if not rows % sharding.mesh().size:
            share = batches.Share(jax.process_index(), hosts.count())
        how = self.settings.batches
        return batches.Batching(rows, self.settings.seeds.seed, how.images_per_identity, share, self.similar)

    def mixing(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """The train step on views of mixed styles, if they are asked for."""
        return styles.before(step, probability=self.settings.augmentation.mix_styles, seed=self.settings.seeds.seed)

    def after(self, state: steps.State) -> "Start":
        """The same start with the network and head that ``state`` has reached."""
        later = copy.copy(self)
        later.params = {**self.frozen(), **jax.tree.map(np.asarray, state.network)}
        later.head = jax.tree.map(np.asarray, state.params["head"])
        return later

    def validation(self) -> Validation | None:
        """How the networks of this run are validated, if they are."""
        if not self.settings.watch.validate_every:
            return None
        how: dict[str, Any] = {"convention": self.card.preprocessing, "output_stride": self.trunk.output_stride}
        return Validation(self.settings, self.size, **how)

    def frozen(self) -> fcn.Params:
        """The parameters that are not trained."""
        return networks.split(self.params, self.trunk.frozen_blocks)[0]

    def _unfolded(self, count: int, pictures: batches.Views) -> fcn.Params:
        """The network with its batch normalisations, measured on whole views of images spread over all."""
        rng = np.random.default_rng(self.settings.seeds.seed)
        places = np.linspace(0, len(self.people.positions) - 1, min(count, len(self.people.positions))).round()
        seen = [pictures.whole(int(i), rng) for i in places]
        shape = tuple(np.max([pixels.shape for pixels, _ in seen], axis=0))
        images, sizes = (
            np.stack([batches.zeros_beyond(pixels, shape) for pixels, _ in seen]),
            np.stack([s for _, s in seen]),
        )
        inputs = fcn.zero_outside(fcn.preprocess(jnp.asarray(images), self.card.preprocessing), jnp.asarray(sizes))
        return osnet.unfold(self.params, inputs, jnp.asarray(sizes))

    @property
    def _augmentation(self) -> views.Augmentation:
        drawn = self.settings.augmentation
        return views.Augmentation(drawn.mirror, drawn.shift, drawn.colour, drawn.erase)

    def _pictures(self, buckets: int) -> batches.ImageViews | own_size.OwnSizeViews:
        """Views of the images."""
        settings = self.settings
        shown: dict[str, Any] = {
            "augmentation": self._augmentation,
            "limit": settings.batches.image_memory * decoded.MEGABYTE,
        }
        if buckets:
            own: dict[str, Any] = {
                "stride": self.trunk.output_stride,
                "buckets": buckets,
                "progress": settings.place.progress,
            }
            return own_size.OwnSizeViews(self.people, **own, **shown)
        return batches.ImageViews(self.people, size=self.size, **shown)

    def _kept(self, workdir: Workdir, pictures: Callable[[], Any], read: fcn.Params) -> batches.Views:
        """What the frozen blocks, ``read`` from a file, make of views of the images."""
        settings, kept = self.settings, self.settings.frozen
        fingerprint = {
            "frozen_weights": _digest(read),
            "dataset": settings.data.dataset,
            "data": workdir.configuration["data"],
            "images": hashlib.sha256(self.people.positions.astype(np.int64).tobytes()).hexdigest()[:16],
            "size": list(self.size),
            "output_stride": self.trunk.output_stride,
            "convention": self.trunk.convention,
            "augmentation": list(self._augmentation),
            "seed": settings.seeds.seed,
        }
        if settings.update.unfold:  # which changes nothing but rounding
            fingerprint["unfold"] = settings.update.unfold
        return frozen.FrozenViews(
            Path(kept.frozen_cache or workdir.path / "frozen"),
            pictures,
            self.params,
            fingerprint=fingerprint,
            count=len(self.people.positions),
            number=kept.frozen_views,
            trunk=self.trunk,
            seed=settings.seeds.seed,
            progress=settings.place.progress,
        )


def check(settings: Training) -> None:
    """Raises ValueError for settings of a training that make no sense, or held-out people that cannot be searched."""
    settings.check()
    if settings.watch.validate_every:
        selection.check(settings.searched.held_out())


def finished(workdir: Workdir) -> bool:
    """Whether the run has its final numbers already; says so."""
    found = workdir.metrics()
    if found:
        print(
            f"{workdir.path} has finished: metrics.json and {weights.WORKDIR_FILE} are there; remove it to start anew"
        )
    return bool(found)


def finish(workdir: Workdir, start: Start, *, phase: str, scores: Mapping[str, Any], free: frozenset[str]) -> None:
    """Writes the trained network (with its head, and a card that says how it was trained) into the workdir.

    Flags that change no result, the ``free`` ones, are not on the card: the same training gives the same file.
    """
    # --evaluate says what is done with the network afterwards; of --weights the content counts, not the path.
    untrained = free | {"evaluate", "weights"}
    defined = {name: value for name, value in workdir.configuration.items() if name not in untrained}
    trained = json.loads(json.dumps({"flags": defined, "scores": dict(scores)}, default=str))
    settings = start.settings
    extra = {"phase": phase, "dataset": settings.data.dataset, "size": list(start.size), "seed": settings.seeds.seed}
    card = weights.Card(
        architecture=start.card.architecture,
        width=start.card.width,
        output_stride=start.trunk.output_stride,
        preprocessing=start.card.preprocessing,
        extra=extra | trained | unseen.earlier(start.card),
    )
    if hosts.first():
        weights.save(workdir.path / weights.WORKDIR_FILE, start.params, card, head=start.head)
    print(f"trained network: {workdir.path / weights.WORKDIR_FILE}")


def _network(settings: Training, identities: int) -> tuple[fcn.Params, losses.Head, weights.Card]:
    """The network of --weights, or random parameters, and a classifier of so many identities."""
    given, fresh = settings.network, settings.fresh
    key, head_key = jax.random.split(jax.random.key(settings.seeds.seed))
    if given.weights:
        network = given.read()
        params, card = network.params, network.card
        if (count := len(ensemble.members(params))) > 1:
            raise ValueError(
                f"weights {given.weights} are an ensemble of {count} networks: train each by itself, and make an "
                "ensemble of them again"
            )
        unseen.check(card, settings.data, settings.held_out)
        if fresh.architecture not in (None, card.architecture):
            raise ValueError(
                f"weights {given.weights} are a {card.architecture}'s and architecture={fresh.architecture}: leave "
                "--architecture out, or give other --weights"
            )
        if fresh.width not in (None, card.width):
            raise ValueError(
                f"weights {given.weights} are of width {card.width:g} and width={fresh.width:g}: leave --width "
                "out, or give other --weights"
            )
        head = _head(network, settings.data.dataset)
    else:
        given.refuse_without_weights()
        # Inputs of unit scale: without batch normalisation a random network keeps the scale of what it is given.
        architecture, width = fresh.architecture or "vgg16", 1.0 if fresh.width is None else fresh.width
        card = weights.Card(architecture=architecture, width=width, preprocessing="torch")
        params, head = networks.init(architecture, key, width=width), {}
    if not head:
        head = losses.init_head(head_key, width=networks.channels(params), identities=identities)
    if head["bias"].size != identities:
        raise ValueError(
            f"weights {given.weights} classify {head['bias'].size} identities, the training data have "
            f"{identities}: use the same --dataset, --holdout and --holdout_from, or a file without a head"
        )
    return params, head, card


def _head(network: weights.Network, dataset: str) -> losses.Head:
    """The classifier of a file, if it is of this data set; empty if there is none."""
    head = network.head()
    if head and network.card.extra.get("dataset") != dataset:
        classes = network.card.extra.get("dataset", "of people or things that it does not name")
        print(f"the classifier of {network.file}, {head['bias'].size} classes, is {classes}: a new one is learnt")
        return {}
    return head


def _digest(layers: fcn.Params) -> str:
    """SHA-256 of parameters."""
    digest = hashlib.sha256()
    for name, layer in sorted(layers.items()):
        digest.update(name.encode())
        for leaf in sorted(layer, reverse=True):  # kernel and bias, or var, scale, mean and bias
            digest.update(np.asarray(layer[leaf]).tobytes())
    return digest.hexdigest()


def _check_size(size: tuple[int, int], stride: int) -> None:
    """The smallest patch must have a map."""
    smallest = views.smallest_patch(size)
    if min(smallest) < stride:
        raise ValueError(
            f"size is {size[0]},{size[1]}: its smallest patch of {smallest[0]} x {smallest[1]} pixels is below one "
            f"output cell of {stride} x {stride}: enlarge --size, or use --output_stride=16"
        )
