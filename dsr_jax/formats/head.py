"""The classifier beside a network: our own head of any arrays, or the classifier of a foreign ResNet-50."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from dsr_jax.formats import named_arrays, resnet50_names
from dsr_jax.formats.named_arrays import Tensors

PREFIX = "head."  # of our own head's arrays


class Head(NamedTuple):
    """The arrays of a file from which a head is made: those of ours, or everything that may matter to a classifier."""

    tensors: Tensors
    ours: bool

    def arrays(self, classes: int | None = None) -> dict[str, np.ndarray]:
        """The head, empty if there is none; a foreign classifier as kernel and bias.

        Args:
          classes: how many classes it must have; default: any number.

        Raises:
          ValueError: for another number of classes, or parts that do not fit together.
        """
        head = self.tensors if self.ours else resnet50_names.classifier(self.tensors)
        count = head["bias"].size if "bias" in head else classes
        if classes is not None and count != classes:
            raise ValueError(
                f"its classifier has {count} classes, {classes} are needed: train a new one, or leave it out"
            )
        return head


def find(tensors: Tensors, architecture: str, *, with_card: bool) -> Head:
    """The head of a file; other arrays beside a network, such as dense layers, can be large and are left out.

    Args:
      tensors: all arrays of the file.
      architecture: of the network in it.
      with_card: whether the file is ours; others have arrays called `head.weight`, too.
    """
    ours = {name.removeprefix(PREFIX): x for name, x in tensors.items() if name.startswith(PREFIX)}
    if (ours and with_card) or "kernel" in ours or architecture != "resnet50":
        return Head(ours if with_card or "kernel" in ours else {}, ours=True)
    beside = {name for name in tensors if named_arrays.BESIDES.match(name)} | {resnet50_names.LAST}
    return Head({name: x for name, x in tensors.items() if name in beside}, ours=False)


def ours(head: Mapping[str, Any]) -> Tensors:
    """A head under our names."""
    return {f"{PREFIX}{name}": np.asarray(x) for name, x in head.items()}


def foreign(head: Mapping[str, Any], architecture: str) -> Tensors:
    """A head under the names of the network's publisher, torchvision or torchreid.

    Raises:
      ValueError: if it has none for it.
    """
    if not head:
        return {}
    if architecture != "resnet50" or set(head) != {"kernel", "bias"}:
        publisher = "torchreid" if architecture.startswith("osnet") else "torchvision"
        raise ValueError(
            f"{publisher} has no names for a head of {', '.join(sorted(head))} on {architecture}: save without it"
        )
    return {"fc.weight": np.ascontiguousarray(np.asarray(head["kernel"]).T), "fc.bias": np.asarray(head["bias"])}
