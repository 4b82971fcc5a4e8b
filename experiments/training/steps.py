"""The train steps: pure functions of state and batch (Sec. 3.3, Algorithm 2).

`identification_step` is Fig. 5a, `reconstruction_step` Fig. 5b with the identification loss kept beside it by weight.
Configuration is keyword-only and bound with `functools.partial`; a step is then jit-compiled by the loop. With a mesh
of several devices the batch is one of `sharding.spread`; losses, figures and gradient are those of the whole batch.

A network with batch normalisation (`networks.by_batch`) is normalised by the batch of the step, of all devices
together, and the running statistics of its trained blocks move towards it: they are part of the state, but nothing that
an optimiser or weight decay touches. Frozen blocks are normalised by their running statistics, which stay. The whole
images and the patches of a reconstruction step are one batch, because matching normalises both sides alike, too.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dsr_jax import blocks, fcn, losses, maxsim, networks, reconstruction, resnet
from dsr_jax.parallel import sharding
from dsr_jax.parallel.sharding import Share
from experiments.settings.training import Tuning

EVERYTHING = Share()
Batch = dict[str, Any]
Figures = dict[str, jax.Array]
Aside = tuple[Figures, fcn.Params]  # what a loss gives beside its value: figures and running statistics


class State(NamedTuple):
    """What training changes."""

    step: Any
    params: Any  # {"network": trained blocks, "head": classifier}
    optimiser: Any
    # Running means and variances of the trained blocks; empty for a network without batch normalisation.
    statistics: Any

    def stored(self) -> dict[str, Any]:
        """What a checkpoint holds: statistics only where there are some, so that older checkpoints stay readable."""
        return {name: part for name, part in self._asdict().items() if part or name != "statistics"}

    @classmethod
    def of(cls, stored: dict[str, Any]) -> "State":
        """The state that `stored` gave."""
        return cls(**({"statistics": {}} | stored))

    @property
    def network(self) -> fcn.Params:
        """The trained blocks with their running statistics."""
        return resnet.join(self.params["network"], self.statistics)


class Trunk(NamedTuple):
    """How the network is run: frozen parameters are passed beside."""

    output_stride: int  # 16 or 32
    first_block: int  # 1 where batches are uint8 images; k + 1 where they are outputs of the frozen blocks 1 to k
    frozen_blocks: int  # blocks without gradient
    convention: str  # input convention of the weights
    dtype: str = "float32"  # type of the computation


def init(
    params: fcn.Params, head: losses.Head, optimiser: optax.GradientTransformation, *, frozen_blocks: int
) -> State:
    """The first state, and only the blocks that are trained in it."""
    trained, statistics = resnet.split(networks.split(params, frozen_blocks)[1])
    both = {"network": trained, "head": head}
    return State(jnp.int32(0), both, optimiser.init(both), statistics)


def maps(
    trained: fcn.Params, kept: fcn.Params, inputs: Any, sizes: Any, *, trunk: Trunk, share: Share = EVERYTHING
) -> tuple[Any, Any, fcn.Params]:
    """Maps of a batch of images or of frozen-prefix outputs, their sizes, and the running statistics after it.

    Args:
      kept: all others: those of frozen blocks, and the running statistics of the trained ones.
    """
    params = _joined(trained, kept)
    if networks.by_batch(params):
        sizes = share.sizes(sizes)  # stand-ins count for nothing in the statistics
    if trunk.first_block == 1:
        inputs = fcn.zero_outside(fcn.preprocess(inputs, trunk.convention), sizes)
    found, found_sizes, statistics = networks.train(
        params,
        inputs,
        sizes,
        total=share.total,
        output_stride=trunk.output_stride,
        blocks=(trunk.first_block, 5),
        frozen_blocks=trunk.frozen_blocks,
        dtype=trunk.dtype,
    )
    moved = {name: share.alike(leaves) for name, leaves in statistics.items() if name in trained}
    return found.astype(jnp.float32), found_sizes, moved


def _joined(trained: fcn.Params, kept: fcn.Params) -> fcn.Params:
    """All parameters: the trained ones, with their running statistics, which are among those that are kept."""
    return resnet.join({**kept, **trained}, {name: x for name, x in kept.items() if name in trained})


def identification_step(
    state: State,
    frozen: fcn.Params,
    batch: Batch,
    *,
    optimiser: optax.GradientTransformation,
    trunk: Trunk,
    smoothing: float,
    mesh: Any = None,
) -> tuple[State, Figures]:
    """One step on ``batch``: inputs (B, ...), sizes (B, 2), identities (B,)."""

    def loss(params: Any, kept: fcn.Params, batch: Batch, share: Share) -> tuple[jax.Array, Aside]:
        given = batch["inputs"], batch["sizes"]
        found, sizes, statistics = maps(params["network"], kept, *given, trunk=trunk, share=share)
        scores = losses.logits(params["head"], found, sizes)
        value = losses.identification(scores, batch["identities"], smoothing=smoothing, mean=share.mean)
        figures = {"accuracy": _accuracy(scores, batch["identities"], share), "alive": _alive(found, share)}
        return value, ({"loss": value, **figures}, statistics)

    return _update(state, frozen, batch, loss, optimiser, mesh)


def reconstruction_step(
    state: State,
    frozen: fcn.Params,
    batch: Batch,
    *,
    optimiser: optax.GradientTransformation,
    trunk: Trunk,
    smoothing: float,
    how: Tuning,
    mesh: Any = None,
) -> tuple[State, Figures]:
    """One step on pairs: whole and patch (B, ...) with their sizes (B, 2) and identities (B,), sign (B,).

    ``how`` says how pairs are compared (Eq. 5, or every patch against every whole image of the batch by softmax over
    the negative distances; all pairs, or each patch's hardest) and what the losses weigh.
    """

    def loss(params: Any, kept: fcn.Params, batch: Batch, share: Share) -> tuple[jax.Array, Aside]:
        (whole, whole_sizes), (patch, patch_sizes), statistics = _both(params["network"], kept, batch, trunk, share)
        scores = losses.logits(params["head"], whole, whole_sizes)
        identities = batch["whole_identities"]
        if how.id_patches:
            scores = jnp.concatenate([scores, losses.logits(params["head"], patch, patch_sizes)])
            identities = jnp.concatenate([identities, batch["patch_identities"]])
        identification = losses.identification(scores, identities, smoothing=smoothing, mean=share.mean)
        figures = {"identification": identification, "accuracy": _accuracy(scores, identities, share)}
        figures |= {"alive": _alive(whole, share)}
        value = how.id_loss_weight * identification
        if how.verification_weight:
            verified, compared = _verify(patch, patch_sizes, whole, whole_sizes, batch, how, share)
            value = value + how.verification_weight * verified
            figures |= {"verification": verified, **compared}
        return value, ({"loss": value, **figures}, statistics)

    return _update(state, frozen, batch, loss, optimiser, mesh)


def _both(
    trained: fcn.Params, kept: fcn.Params, batch: Batch, trunk: Trunk, share: Share
) -> tuple[tuple[Any, Any], tuple[Any, Any], fcn.Params]:
    """Maps and sizes of the whole images and of the patches, and the running statistics after both."""
    how: dict[str, Any] = {"trunk": trunk, "share": share}
    whole, patch = batch["whole"], batch["patch"]
    sizes = batch["whole_sizes"], batch["patch_sizes"]
    params = _joined(trained, kept)
    if not networks.by_batch(params):
        whole, patch = (maps(trained, kept, x, s, **how)[:2] for x, s in zip((whole, patch), sizes, strict=True))
        return whole, patch, {}
    # One batch of one padded shape: padding counts for nothing in the statistics, and is cut off the maps again.
    shape = tuple(map(max, zip(whole.shape[1:3], patch.shape[1:3], strict=True)))
    together = jnp.concatenate([_padded(x, shape) for x in (whole, patch)])
    found, found_sizes, statistics = maps(trained, kept, together, jnp.concatenate(sizes), **how)
    options = {"output_stride": trunk.output_stride, "first_block": trunk.first_block}
    cells = [networks.map_size(params, x.shape[1:3], **options) for x in (whole, patch)]
    rows = slice(0, len(whole)), slice(len(whole), None)
    one, other = ((found[r, :h, :w], found_sizes[r]) for r, (h, w) in zip(rows, cells, strict=True))
    return one, other, statistics


def _padded(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """(B, h, w, d) with zeros up to this height and width."""
    return jnp.pad(x, [(0, 0), (0, shape[0] - x.shape[1]), (0, shape[1] - x.shape[2]), (0, 0)])


def _verify(
    patch: Any, patch_sizes: Any, whole: Any, whole_sizes: Any, batch: Batch, how: Tuning, share: Share
) -> tuple[jax.Array, Figures]:
    """The verification loss of a batch, mean distances of its positive and negative pairs, and what codes they have.

    A patch whose map is zero everywhere has nothing to compare: it is left out of every mean.
    """
    shown = batch["whole_identities"]
    in_pairs = how.verification == "signed" and how.mining == "none"
    if not in_pairs:  # every patch against the whole images of all devices
        whole, whole_sizes, shown = share.gathered((whole, whole_sizes, shown))
    cut = jax.vmap(lambda m, s: blocks.cut(m, s, scales=how.train_scales))
    probe, valid = cut(patch, patch_sizes)
    gallery, _ = cut(whole, whole_sizes)
    counted = valid & jnp.any(probe != 0, axis=2)
    seen = share.only_real(jnp.any(counted, axis=1))
    mean = functools.partial(share.mean_over, seen)

    def measured(x: Any, mask: Any, y: Any) -> tuple[jax.Array, Figures]:
        if how.distance == "maxsim":
            return maxsim.distance(x, y, valid=mask), {}
        found, coding = reconstruction.measured(x, y, l1=how.l1, valid=mask, gradient=how.gradient)
        return found, {"nonzero_codes": coding.nonzero, "gap": coding.gap}

    if in_pairs:
        (distances, coding), same = jax.vmap(measured)(probe, valid, gallery), batch["sign"] > 0
        value = losses.verification(distances, batch["sign"], ceiling=how.ceiling, mean=mean)
    else:
        # A CPU keeps the products of one whole image in its cache, but not those of all.
        one_by_one = how.distance == "maxsim" and jax.default_backend() == "cpu"
        every = (jax.lax.map if one_by_one else _at_once)(lambda y: measured(probe, valid, y), gallery)
        distances, coding = jax.tree.map(jnp.transpose, every)
        same = batch["patch_identities"][:, None] == shown[None, :]
        value = _of_all(share.within(distances), same, how, share, mean)
        seen = seen[:, None]
    positive, negative = share.only_real(same) & seen, share.only_real(~same) & seen
    return value, {
        **{name: share.mean_over(positive | negative, values) for name, values in coding.items()},
        "positive_distance": share.mean_over(positive, distances),
        "negative_distance": share.mean_over(negative, distances),
        "counted": mean(jnp.sum(counted, axis=1) / jnp.maximum(jnp.sum(valid, axis=1), 1)),
    }


def _at_once(function: Callable[[jax.Array], Any], values: jax.Array) -> Any:
    return jax.vmap(function)(values)


def _of_all(distances: jax.Array, same: jax.Array, how: Tuning, share: Share, mean: losses.Mean) -> jax.Array:
    """The verification loss of every patch against every whole image, of all pairs or of the hardest."""
    kept = losses.hardest(distances, same) if how.mining == "batch_hard" else jnp.isfinite(distances)
    if how.verification == "ranked":
        chosen = jnp.where(kept, distances, jnp.inf)
        return losses.ranking(chosen, same, temperature=how.temperature, mean=mean)
    signs, mean = jnp.where(same, 1, -1).ravel(), functools.partial(share.mean_over, share.only_real(kept).ravel())
    return losses.verification(distances.ravel(), signs, ceiling=how.ceiling, mean=mean)


def _update(
    state: State, frozen: fcn.Params, batch: Batch, loss: Any, optimiser: optax.GradientTransformation, mesh: Any
) -> tuple[State, Figures]:
    kept = {**frozen, **state.statistics}
    (_, (figures, statistics)), gradient = sharding.value_and_grad(loss, mesh)(state.params, kept, batch)
    updates, memory = optimiser.update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    return State(state.step + 1, params, memory, statistics), {**figures, "gradient_norm": optax.tree.norm(gradient)}


def _accuracy(scores: jax.Array, identities: jax.Array, share: Share) -> jax.Array:
    return share.mean((jnp.argmax(scores, axis=1) == identities).astype(jnp.float32))


def _alive(found: jax.Array, share: Share) -> jax.Array:
    """The share of the maps that are not zero everywhere."""
    return share.mean(jnp.any(found != 0, axis=(1, 2, 3)).astype(jnp.float32))
