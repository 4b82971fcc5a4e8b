"""Maps of any network of timm, for pictures of any size, normalised as the network's own configuration says.

    network = timm.create_model("resnet50", pretrained=True, output_stride=16).eval()
    gallery = match.Gallery.build(list(timm_maps.maps(network, pictures)))

The map is the network's last one, before its pooling (`forward_intermediates`, timm >= 1.0), of each picture at its own
size. Needs torch, imported at the first call; timm itself is not imported, the network brings all that is needed.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

__all__ = ["maps"]


def maps(
    network: Any, pictures: Iterable[np.ndarray], *, stage: int | None = None, batch_size: int = 8
) -> Iterator[np.ndarray]:
    """The spatial map of every picture, one after the other: for `match`, or for `map_file.write`.

    Args:
      network: a network of `timm.create_model`, in evaluation mode, on any device, in any precision. A vision
        transformer takes pictures of any size if it was created with ``dynamic_img_size=True, dynamic_img_pad=True``.
      pictures: (H, W, 3) uint8 RGB pictures of any sizes that the network takes. Sides should be multiples of its cell
        (``network.feature_info[-1]["reduction"]`` pixels); some networks take no others.
      stage: which of the network's maps, as ``indices=[stage]`` of `forward_intermediates`; default: the last.
      batch_size: how many consecutive pictures of one size run together.

    Yields:
      A (h, w, d) float32 array per picture, in order.

    Raises:
      ValueError: for a network in training mode, without `forward_intermediates` or without mean and deviation; for a
        picture that is not (H, W, 3) uint8, or of a size that the network refuses.
      ModuleNotFoundError: without torch.
    """
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(
            f"network must be one of timm >= 1.0 with forward_intermediates, got {type(network).__name__}: for other "
            "networks write their maps with map_file.write"
        )
    if network.training:
        raise ValueError("network is in training mode, in which maps depend on the batch: call network.eval() first")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size!r}")
    config = getattr(network, "pretrained_cfg", None) or {}
    if len(config.get("mean", ())) != 3 or len(config.get("std", ())) != 3:
        raise ValueError(
            "network.pretrained_cfg must have mean and std of three channels, got "
            f"{config.get('mean')!r} and {config.get('std')!r}: set those that it was trained with"
        )
    mean, deviation = np.float32(config["mean"]), np.float32(config["std"])
    indices = 1 if stage is None else [stage]

    def of(batch: list[np.ndarray], first: int) -> Iterator[np.ndarray]:
        import torch

        values = (np.stack(batch) / np.float32(255) - mean) / deviation
        like = next(network.parameters())
        images = torch.from_numpy(np.ascontiguousarray(values.transpose(0, 3, 1, 2))).to(like.device, like.dtype)
        how = {"norm": True, "output_fmt": "NCHW", "intermediates_only": True}
        try:
            with torch.inference_mode():
                last = network.forward_intermediates(images, indices=indices, **how)[-1]
        except (AssertionError, RuntimeError, ValueError) as error:
            height, width = batch[0].shape[:2]
            raise ValueError(
                f"pictures[{first}] of {height} x {width} pixels: {type(network).__name__} cannot run on it ({error}). "
                "Resize pictures to multiples of its cell, and no smaller than it takes; create a transformer with "
                "dynamic_img_size=True, dynamic_img_pad=True (a Swin: strict_img_size=False)"
            ) from error
        yield from np.ascontiguousarray(last.float().cpu().numpy().transpose(0, 2, 3, 1))

    return _batched(of, pictures, batch_size)


def _batched(of: Any, pictures: Iterable[np.ndarray], batch_size: int) -> Iterator[np.ndarray]:
    """Runs ``of`` on consecutive pictures of one size."""
    batch: list[np.ndarray] = []
    first = 0
    for i, picture in enumerate(pictures):
        _check(picture, i)
        if batch and (len(batch) == batch_size or picture.shape != batch[0].shape):
            yield from of(batch, first)
            batch, first = [], i
        batch.append(picture)
    if batch:
        yield from of(batch, first)


def _check(picture: Any, i: int) -> None:
    """Raises ValueError for anything but (H, W, 3) uint8."""
    shape, dtype = np.shape(picture), getattr(picture, "dtype", type(picture).__name__)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or dtype != np.uint8:
        raise ValueError(f"pictures[{i}] must be (H, W, 3) uint8 RGB, got shape {shape} of {dtype}: convert it first")
