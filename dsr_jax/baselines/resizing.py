"""The resizing model (Sec. 4.2): every image is brought to one size, the whole last layer is its feature."""

from collections.abc import Sequence

import numpy as np

from dsr_jax.baselines import euclidean


def distances(probe_maps: Sequence[np.ndarray], gallery_maps: Sequence[np.ndarray]) -> np.ndarray:
    """Euclidean distance (P, G) of the flattened maps: 15,360 numbers for the paper's 320 x 120.

    A person of several shots is as near as the images on average (`np.mean` over their columns).

    Args:
      probe_maps: P maps (h, w, d), all of one size: probes are stretched to that of the gallery before.
      gallery_maps: G maps of the same size.

    Raises:
      ValueError: if the maps are not all of one size.

    Example:
      >>> distances([np.zeros((2, 1, 2))], [np.ones((2, 1, 2))]).tolist()
      [[2.0]]
    """
    shapes = {np.shape(m) for m in (*probe_maps, *gallery_maps)}
    if len(shapes) != 1:
        raise ValueError(f"probe_maps and gallery_maps must be of one size, got {sorted(shapes)}: resize the images")
    x, y = (np.stack([np.ravel(m) for m in maps]).astype(np.float32) for maps in (probe_maps, gallery_maps))
    return euclidean.distances(x, y)
