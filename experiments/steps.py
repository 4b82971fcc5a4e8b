"""The train steps: pure functions of state and batch (Sec. 3.3, Algorithm 2).

`identification_step` is Fig. 5a, `reconstruction_step` Fig. 5b with the identification loss kept beside it by weight.
Configuration is keyword-only and bound with `functools.partial`; a step is then jit-compiled by the loop. With a mesh
of several devices the batch is one of `sharding.spread`; losses, figures and gradient are those of the whole batch.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dsr_jax import blocks, fcn, losses, networks, reconstruction, sharding
from dsr_jax.sharding import Share

Batch = dict[str, Any]
Figures = dict[str, jax.Array]
WHOLE = Share()  # of a batch, on one device


class State(NamedTuple):
    """What training changes.

    Attributes:
      step: steps done.
      params: {"network": trained blocks, "head": classifier}.
      optimiser: its memory.
      statistics: running statistics of the trained blocks' batch normalisation, which no gradient moves.
    """

    step: Any
    params: Any
    optimiser: Any
    statistics: Any


class Beside(NamedTuple):
    """What a loss needs and has no gradient in: parameters of frozen blocks, running statistics of trained ones."""

    frozen: fcn.Params
    statistics: fcn.Params


class Trunk(NamedTuple):
    """How the network is run: frozen parameters are passed beside.

    Attributes:
      output_stride: 16 or 32.
      first_block: 1 where batches are uint8 images; k + 1 where they are outputs of the frozen blocks 1 to k.
      frozen_blocks: blocks without gradient.
      convention: input convention of the weights.
      dtype: type of the computation.
    """

    output_stride: int
    first_block: int
    frozen_blocks: int
    convention: str
    dtype: str = "float32"


class Verification(NamedTuple):
    """How pairs are compared (Eq. 5) and what their losses weigh.

    Attributes:
      form: "signed" (Eq. 5 on the pairs of the batch) or "ranked" (every patch against every whole image of the batch:
        softmax over the negative distances).
      weight: weight of the verification loss.
      id_weight: weight of the identification loss.
      id_patches: whether the identification loss sees the patches as well as the whole images.
      l1: weight of the L1 penalty.
      scales: block scales of both sides.
      gradient: "envelope" (Eq. 7) or "implicit".
      ceiling: largest distance to which a negative pair is pushed (signed).
      temperature: of the softmax (ranked).
      mining: "none", or "batch_hard": of every patch against every whole image of the batch, only each patch's hardest
        pair of one person and hardest of two count, in either form.
    """

    form: str = "signed"
    weight: float = 1.0
    id_weight: float = 0.0
    id_patches: bool = False
    l1: float = 0.4
    scales: tuple[int, ...] = (1,)
    gradient: str = "envelope"
    ceiling: float = 1.0
    temperature: float = 0.1
    mining: str = "none"


def init(
    params: fcn.Params, head: losses.Head, optimiser: optax.GradientTransformation, *, frozen_blocks: int
) -> State:
    """The first state, and only the blocks that are trained in it."""
    own = {name: layer for name, layer in params.items() if int(name[5]) > frozen_blocks}
    trained, statistics = networks.split(own)
    both = {"network": trained, "head": head}
    return State(jnp.int32(0), both, optimiser.init(both), statistics)


def network(state: State, frozen: fcn.Params) -> fcn.Params:
    """All parameters of the network that training has reached."""
    return {**frozen, **networks.join(state.params["network"], state.statistics)}


def maps(
    network: fcn.Params, inputs: Any, sizes: Any, *, trunk: Trunk, share: Share = WHOLE
) -> tuple[Any, Any, fcn.Params]:
    """Maps of a batch of images or of frozen-prefix outputs, their sizes, and the network with new statistics."""
    if trunk.first_block == 1:
        inputs = fcn.zero_outside(fcn.preprocess(inputs, trunk.convention), sizes)
    found, found_sizes, statistics = networks.train(
        network,
        inputs,
        share.sizes(sizes),
        total=share.total,
        output_stride=trunk.output_stride,
        blocks=(trunk.first_block, 5),
        frozen_blocks=trunk.frozen_blocks,
        dtype=trunk.dtype,
    )
    return found.astype(jnp.float32), found_sizes, networks.join(network, statistics)


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

    def loss(params: Any, beside: Beside, batch: Batch, share: Share) -> tuple[jax.Array, Any]:
        given = {**beside.frozen, **networks.join(params["network"], beside.statistics)}
        found, sizes, after = maps(given, batch["inputs"], batch["sizes"], trunk=trunk, share=share)
        scores = losses.logits(params["head"], found, sizes)
        value = losses.identification(scores, batch["identities"], smoothing=smoothing, mean=share.mean)
        figures = {"loss": value, "accuracy": _accuracy(scores, batch["identities"], share)}
        return value, (figures, share.alike(_statistics(after, beside)))

    return _update(state, frozen, batch, loss, optimiser, mesh)


def reconstruction_step(
    state: State,
    frozen: fcn.Params,
    batch: Batch,
    *,
    optimiser: optax.GradientTransformation,
    trunk: Trunk,
    smoothing: float,
    verification: Verification,
    mesh: Any = None,
) -> tuple[State, Figures]:
    """One step on pairs: whole and patch (B, ...) with their sizes (B, 2) and identities (B,), sign (B,).

    Batch normalisation takes whole images and patches one after the other, each by their own statistics.
    """

    def loss(params: Any, beside: Beside, batch: Batch, share: Share) -> tuple[jax.Array, Any]:
        given = {**beside.frozen, **networks.join(params["network"], beside.statistics)}
        whole, whole_sizes, given = maps(given, batch["whole"], batch["whole_sizes"], trunk=trunk, share=share)
        patch, patch_sizes, given = maps(given, batch["patch"], batch["patch_sizes"], trunk=trunk, share=share)
        scores = losses.logits(params["head"], whole, whole_sizes)
        identities = batch["whole_identities"]
        if verification.id_patches:
            scores = jnp.concatenate([scores, losses.logits(params["head"], patch, patch_sizes)])
            identities = jnp.concatenate([identities, batch["patch_identities"]])
        identification = losses.identification(scores, identities, smoothing=smoothing, mean=share.mean)
        figures = {"identification": identification, "accuracy": _accuracy(scores, identities, share)}
        value = verification.id_weight * identification
        if verification.weight:
            verified, compared = _verify(patch, patch_sizes, whole, whole_sizes, batch, verification, share)
            value = value + verification.weight * verified
            figures |= {"verification": verified, **compared}
        return value, ({"loss": value, **figures}, share.alike(_statistics(given, beside)))

    return _update(state, frozen, batch, loss, optimiser, mesh)


def _verify(
    patch: Any, patch_sizes: Any, whole: Any, whole_sizes: Any, batch: Batch, how: Verification, share: Share
) -> tuple[jax.Array, Figures]:
    """The verification loss of a batch, mean distances of its positive and negative pairs, and what their codes are."""
    shown = batch["whole_identities"]
    in_pairs = how.form == "signed" and how.mining == "none"
    if not in_pairs:  # every patch against the whole images of all devices
        whole, whole_sizes, shown = share.everybody((whole, whole_sizes, shown))
    cut = jax.vmap(lambda m, s: blocks.cut(m, s, scales=how.scales))
    probe, valid = cut(patch, patch_sizes)
    gallery, _ = cut(whole, whole_sizes)

    def measured(x: Any, mask: Any, y: Any) -> tuple[jax.Array, reconstruction.Coding]:
        return reconstruction.measured(x, y, l1=how.l1, valid=mask, gradient=how.gradient)

    if in_pairs:
        (distances, coding), same = jax.vmap(measured)(probe, valid, gallery), batch["sign"] > 0
        value = losses.verification(distances, batch["sign"], ceiling=how.ceiling, mean=share.mean)
    else:
        distances, coding = jax.vmap(lambda x, mask: jax.vmap(lambda y: measured(x, mask, y))(gallery))(probe, valid)
        same = batch["patch_identities"][:, None] == shown[None, :]
        value = _of_all(share.within(distances), same, how, share)
    positive, negative = share.only_real(same), share.only_real(~same)
    return value, {
        "nonzero_codes": share.mean_over(positive | negative, coding.nonzero),
        "gap": share.mean_over(positive | negative, coding.gap),
        "positive_distance": share.mean_over(positive, distances),
        "negative_distance": share.mean_over(negative, distances),
    }


def _of_all(distances: jax.Array, same: jax.Array, how: Verification, share: Share) -> jax.Array:
    """The verification loss of every patch against every whole image, of all pairs or of the hardest."""
    kept = losses.hardest(distances, same) if how.mining == "batch_hard" else jnp.isfinite(distances)
    if how.form == "ranked":
        chosen = jnp.where(kept, distances, jnp.inf)
        return losses.ranking(chosen, same, temperature=how.temperature, mean=share.mean)
    signs, mean = jnp.where(same, 1, -1).ravel(), functools.partial(share.mean_over, share.only_real(kept).ravel())
    return losses.verification(distances.ravel(), signs, ceiling=how.ceiling, mean=mean)


def _update(
    state: State, frozen: fcn.Params, batch: Batch, loss: Any, optimiser: optax.GradientTransformation, mesh: Any
) -> tuple[State, Figures]:
    beside = Beside(frozen, state.statistics)
    (_, (figures, statistics)), gradient = sharding.value_and_grad(loss, mesh)(state.params, beside, batch)
    updates, memory = optimiser.update(gradient, state.optimiser, state.params)
    params = optax.apply_updates(state.params, updates)
    return State(state.step + 1, params, memory, statistics), {
        **figures,
        "gradient_norm": optax.tree.norm(gradient),
    }


def _statistics(network: fcn.Params, beside: Beside) -> fcn.Params:
    """The running statistics of the trained blocks."""
    return {name: {leaf: network[name][leaf] for leaf in own} for name, own in beside.statistics.items()}


def _accuracy(scores: jax.Array, identities: jax.Array, share: Share) -> jax.Array:
    return share.mean((jnp.argmax(scores, axis=1) == identities).astype(jnp.float32))
