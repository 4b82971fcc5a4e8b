"""Who looks like whom to the network that a training starts from, for batches of people who are hard to tell apart."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import fcn, networks
from dsr_jax.layers.pooling import pooled
from dsr_jax.parallel import hosts
from experiments.settings.training import Batches
from experiments.training import batches

IMAGES, ROWS = 6, 32  # images looked at per person; images that go through the network at once


def people(params: fcn.Params, trunk: Any, drawn: batches.Views, known: batches.People, count: int) -> np.ndarray:
    """(people, count): for every class the others of the largest cosine, the most similar first.

    A person is the mean of the unit pooled features of some of their images, spread over all that they have.
    """

    @jax.jit
    def features(inputs: jax.Array, sizes: jax.Array) -> jax.Array:
        if trunk.first_block == 1:
            inputs = fcn.zero_outside(fcn.preprocess(inputs, trunk.convention), sizes)
        maps, cells = networks.apply(
            params, inputs, sizes, output_stride=trunk.output_stride, blocks=(trunk.first_block, 5)
        )
        vectors = pooled(maps.astype(jnp.float32), cells)
        return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    classes = known.classes
    of = [np.flatnonzero(classes == person) for person in range(int(classes.max()) + 1)]
    seen = [images[np.unique(np.linspace(0, len(images) - 1, IMAGES).round().astype(int))] for images in of]
    chosen = np.concatenate(seen)
    looked = []
    for begin in range(0, len(chosen), ROWS):
        members = np.resize(chosen[begin : begin + ROWS], ROWS)
        views = [drawn.whole(int(i), np.random.default_rng(int(i))) for i in members]
        inputs = [batches.zeros_beyond(view, drawn.padded(int(i))) for (view, _), i in zip(views, members, strict=True)]
        looked.append(np.asarray(features(np.stack(inputs), np.stack([size for _, size in views]))))
    vectors = np.concatenate(looked)[: len(chosen)]
    means = np.stack([vectors[classes[chosen] == person].mean(axis=0) for person in range(len(of))])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    cosines = means @ means.T
    np.fill_diagonal(cosines, -np.inf)
    found = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    hosts.agree("who looks like whom", {"digest": hashlib.sha256(found.astype(np.int64).tobytes()).hexdigest()})
    return found


def check(how: Batches, identities: int, batch_sizes: Mapping[str, int]) -> None:
    """Raises ValueError for fewer similar people than a batch takes, or as many as there are."""
    least = max((rows // how.images_per_identity for rows in batch_sizes.values()), default=1) - 1
    if not least <= how.similar_people < identities:
        raise ValueError(
            f"similar_people={how.similar_people}: a batch has one of {identities} people and {least} who look like "
            f"them: give {least} to {identities - 1}"
        )
