"""Sliding window matching (Sec. 4.1, its reference [33]): where in the gallery image is the probe?

A window of the probe's own size is slid over each gallery image, the network is run on every window as on an image of
its own, and the smallest Euclidean distance of the flattened maps is the distance of the image. Choices where the paper
is silent: the windows start at every ``stride`` pixels and flush with the far edges; a window is rounded down to whole
output cells, because the pixels beyond them add no position to its map, so that all probes with maps of one size share
the windows (the probe itself keeps all its pixels); an image of several shots is as near as its nearest window; the
distance is divided by the root of the number of positions, so that those of probes of different sizes can be compared.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from tqdm import tqdm

from dsr_jax.baselines import euclidean, windows
from dsr_jax.solvers import joint

# Images in, their maps out: for instance `functools.partial(extract.maps, params)`.
Network = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]
CHUNK = 1 << 27  # bytes of the windows, as float32 pixels, that the network gets in one call


def distances(
    network: Network,
    probe_maps: Sequence[np.ndarray],
    gallery_images: Sequence[np.ndarray],
    *,
    output_stride: int = 32,
    stride: int | None = None,
    progress: str = "",
) -> np.ndarray:
    """Distance of every probe to the most similar window of each gallery image.

    The network runs as often as there are windows: for each gallery image, once per position and per size of the
    probes' maps. That, and not the comparison, is the cost (the paper's Table 3: 300 times that of DSR).

    Args:
      network: gives the (h, w, d) map of every image of a sequence; the windows of a call are of one size.
      probe_maps: P maps (h, w, d) of any sizes, of the same network.
      gallery_images: G images (H, W, 3), none smaller than any probe's whole output cells: scale such a probe to fit
        before, and count it.
      output_stride: pixels per position of a map.
      stride: pixels from window to window; default: one output cell.
      progress: what the progress bar says; empty: no bar.

    Returns:
      (P, G) float32.

    Raises:
      ValueError: if a probe is larger than a gallery image; the message names both.
    """
    step = output_stride if stride is None else stride
    shapes = [m.shape[:2] for m in probe_maps]
    members = {shape: [p for p, other in enumerate(shapes) if other == shape] for shape in sorted(set(shapes))}
    _check(members, gallery_images, output_stride)
    vectors = {shape: np.stack([probe_maps[p].ravel() for p in members[shape]]) for shape in members}
    found = np.empty((len(probe_maps), len(gallery_images)), np.float32)
    with tqdm(total=len(gallery_images), desc=progress, unit="image", disable=not progress) as bar:
        sizes = np.array([_bytes(image, members, output_stride, step) for image in gallery_images])
        for first, last in joint.parts(sizes, CHUNK):
            for shape, probes in members.items():
                size = (shape[0] * output_stride, shape[1] * output_stride)
                cuts = [windows.cut(image, size, (step, step)) for image in gallery_images[first:last]]
                maps = network([window for cut in cuts for window in cut])
                each = euclidean.distances(vectors[shape], np.stack([np.ravel(m) for m in maps]))
                edges = np.cumsum([0, *(len(cut) for cut in cuts[:-1])])
                found[probes, first:last] = np.minimum.reduceat(each, edges, axis=1) / np.sqrt(shape[0] * shape[1])
            bar.update(last - first)
    return found


def _bytes(image: np.ndarray, shapes: Iterable[tuple[int, ...]], output_stride: int, step: int) -> int:
    """Bytes of an image's windows, as float32 pixels, of the size that has most of them."""
    most = 0
    for h, w in shapes:
        sides = zip(image.shape[:2], (h, w), strict=True)
        rows, columns = (len(windows.starts(side, cells * output_stride, step)) for side, cells in sides)
        most = max(most, rows * columns * h * w * output_stride**2 * 12)
    return most


def _check(shapes: dict[tuple[int, ...], list[int]], images: Sequence[np.ndarray], output_stride: int) -> None:
    for g, image in enumerate(images):
        for (h, w), probes in shapes.items():
            height, width = h * output_stride, w * output_stride
            if height > image.shape[0] or width > image.shape[1]:
                raise ValueError(
                    f"probe_maps[{probes[0]}] is of {height} x {width} pixels, which is larger than "
                    f"gallery_images[{g}] of {image.shape[0]} x {image.shape[1]}: scale that probe to fit"
                )
