"""Training losses: identification (Fig. 5a) and verification by reconstruction (Eq. 5).

Identification is a softmax over the training identities on the last pooling layer. The layer is averaged over its true
area first, so that whole images and patches of any size share one classifier.

Verification, for a pair with sign alpha = +1 (same person) or -1 (different persons):

    L = alpha 1/N min_W |X - Y W|^2 (+ l1 |W|_1, which has no gradient once W is fixed)

Of all pairs of probes and gallery images in a batch, `hardest` keeps, for each probe, the farthest of the same person
and the nearest of the others (batch-hard mining; Hermans, Beyer, Leibe: In Defense of the Triplet Loss, 2017). They go
into either form of the verification loss:

    signed   Eq. 5 on these pairs:   L = mean over the pairs kept of alpha d
    ranked   softmax over the two:   L = mean over probes of log(1 + exp((d+ - d-) / T))
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from dsr_jax.layers.pooling import pooled

__all__ = ["Head", "Mean", "hardest", "identification", "init_head", "logits", "pooled", "ranking", "verification"]

Head = dict[str, Any]
Mean = Callable[[Any], Any]  # of a loss's values: `jnp.mean`, or a device's addend to that of a shared batch


def init_head(key: jax.Array, *, width: int, identities: int) -> Head:
    """Parameters of the linear classifier on the pooled map: kernel (width, identities) and bias (identities,).

    Example:
      >>> import jax
      >>> from dsr_jax import losses
      >>> losses.init_head(jax.random.key(0), width=512, identities=767)["kernel"].shape
      (512, 767)
    """
    # Small: activations of ImageNet networks are large, and a first loss far above log K kills ReLUs on the way back.
    kernel = 1e-3 * jax.random.normal(key, (width, identities))
    return {"kernel": kernel, "bias": jnp.zeros(identities)}


def logits(
    head: Head, maps: Float[Array, "batch h w d"], map_sizes: Int[Array, "batch 2"]
) -> Float[Array, "batch identities"]:
    """Scores of the training identities for a batch of maps (Fig. 5a)."""
    return pooled(maps, map_sizes) @ head["kernel"] + head["bias"][None, :]


def identification(
    scores: Float[Array, "batch identities"],
    identities: Int[Array, " batch"],
    *,
    smoothing: float = 0.0,
    mean: Mean = jnp.mean,
) -> Float[Array, ""]:
    """Mean softmax cross-entropy, with optional label smoothing.

    Args:
      scores: (B, K) logits.
      identities: (B,) right classes, 0 to K - 1.
      smoothing: probability mass spread evenly over all classes, in [0, 1).
      mean: how the mean is formed, see `sharding.Share`.

    Returns:
      The mean loss in nats.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import losses
      >>> round(float(losses.identification(jnp.zeros((1, 4)), jnp.array([2]))), 4)  # log 4
      1.3863
    """
    targets = optax.smooth_labels(jax.nn.one_hot(identities, scores.shape[-1], dtype=scores.dtype), smoothing)
    return mean(optax.softmax_cross_entropy(scores, targets))


def verification(
    distances: Float[Array, " batch"], signs: Int[Array, " batch"], *, ceiling: float = 1.0, mean: Mean = jnp.mean
) -> Float[Array, ""]:
    """Mean of Eq. 5 over a batch of pairs: alpha times the reconstruction distance.

    Args:
      distances: (B,) distances of the pairs, Eq. 4.
      signs: (B,) +1 for the same person, -1 for different persons.
      ceiling: a pair of different persons counts only up to this distance; 1 (no effect on unit blocks) is the paper.
      mean: how the mean is formed, and over which pairs: see `sharding.Share`.

    Returns:
      The mean loss, in [-1, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import losses
      >>> float(losses.verification(jnp.array([0.5, 0.75]), jnp.array([1, -1])))
      -0.125
    """
    pushed = jnp.where(signs > 0, distances, -jnp.minimum(distances, jnp.asarray(ceiling, distances.dtype)))
    return mean(pushed)


def ranking(
    distances: Float[Array, "probes gallery"],
    same: Bool[Array, "probes gallery"],
    *,
    temperature: float = 0.1,
    mean: Mean = jnp.mean,
) -> Float[Array, ""]:
    """Ranking form of the verification signal: each probe against every gallery image of the batch.

    Beyond the paper's Eq. 5, which moves the distance of each pair alone: what counts in retrieval is that the right
    image is nearer than the others. Mean over probes of -log sum_same softmax(-distance / temperature).

    Args:
      distances: (P, G) distances of all pairs; infinity leaves a pair out.
      same: (P, G) whether the pair shows one person; each probe needs at least one.
      temperature: distance difference that counts as one nat.
      mean: how the mean is formed, see `sharding.Share`.

    Returns:
      The mean loss in nats.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import losses
      >>> loss = losses.ranking(jnp.array([[0.5, 0.5]]), jnp.array([[True, False]]))
      >>> round(float(loss), 4)  # log 2
      0.6931
    """
    scores = -distances / temperature
    right = jax.nn.logsumexp(jnp.where(same, scores, -jnp.inf), axis=1)
    return mean(jax.nn.logsumexp(scores, axis=1) - right)


def hardest(
    distances: Float[Array, "probes gallery"], same: Bool[Array, "probes gallery"]
) -> Bool[Array, "probes gallery"]:
    """The pairs that batch-hard mining keeps: for each probe one of the same person, and one of another.

        + : argmax_g {d_pg : same},     - : argmin_g {d_pg : not same}

    Of equally hard pairs the first counts; a probe without a pair of one kind keeps none of it.

    Args:
      distances: (P, G) distances of all pairs; infinity leaves a pair out, as it does for `ranking`.
      same: (P, G) whether the pair shows one person.

    Returns:
      (P, G) which pairs are kept; without gradient.

    Example:
      >>> import jax.numpy as jnp
      >>> from dsr_jax import losses
      >>> distances = jnp.array([[0.1, 0.3, 0.5, 0.4]])
      >>> losses.hardest(distances, jnp.array([[True, True, False, False]])).tolist()
      [[False, True, False, True]]
    """
    places = jnp.arange(distances.shape[1])[None, :]

    def first_largest(values: jax.Array, among: jax.Array) -> jax.Array:
        place = jnp.argmax(jnp.where(among, values, -jnp.inf), axis=1)
        return among & (places == place[:, None])

    among = jnp.isfinite(distances)
    return first_largest(distances, same & among) | first_largest(-distances, ~same & among)
