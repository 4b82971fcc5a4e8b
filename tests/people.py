"""Pictures of noise with identities and cameras, a tiny network, random maps: what the tests of comparisons compare."""

import jax
import numpy as np

from dsr_jax import fcn
from experiments.evaluation import features, pictures

SIZE, SHAPE, DEPTH = (64, 48), (4, 3), 16
NETWORK = features.Network(fcn.init(jax.random.key(0), width=0.03), "torch", 16, SIZE)


def maps(count, seed, shape=SHAPE):
    """Random maps, sparse enough for codes to matter."""
    return [m**4 for m in np.random.default_rng(seed).random((count, *shape, DEPTH)).astype(np.float32)]


def drawn(shapes, identities, cameras):
    """Pictures of noise."""
    rng = np.random.default_rng(5)
    found = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    return pictures.Images(found, np.array(identities), np.array(cameras), [f"{i}.png" for i in range(len(shapes))])


GALLERY = drawn([(4, 4)] * 6, [1, 1, 2, 2, 3, -1], [1, 1, 1, 0, 1, 1])
QUERIES = drawn([(4, 4)] * 3, [1, 2, 3], [0, 0, 2])
