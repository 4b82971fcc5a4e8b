"""Weights files: networks of Keras, torchvision, torchreid and our own are read, our own are written.

The feature extractor of Sec. 3.1 starts from VGG-16 trained on ImageNet (Sec. 4: "pre-trained on ImageNet"), that of
Sec. 4.7 from ResNet-50, so the weights theta come from somebody else's file; OSNet's come from torchreid. Whatever the
file calls them (`block1_conv1/kernel` in Keras, `features.0.weight` or `layer1.0.conv1.weight` with OIHW kernels in
torchvision), `load` returns the nested dictionary of `fcn`, `resnet` or `osnet` in float32, kernels HWIO. Our own files
are safetensors with a `Card` inside that says which network it is and what it expects of its input; the card of a
foreign file is derived, as far as possible. `read` returns everything at once, so that a file is read once in a run.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from dsr_jax import ensemble, fcn
from dsr_jax.formats import atomic, foreign, named_arrays, osnet_names, weights_file
from dsr_jax.formats import card as cards
from dsr_jax.formats import head as head_arrays
from dsr_jax.formats.card import NAMES, Card
from dsr_jax.formats.named_arrays import Tensors

__all__ = [
    "WORKDIR_FILE",
    "Card",
    "Network",
    "checksum",
    "digest",
    "load",
    "load_head",
    "locate",
    "read",
    "read_card",
    "save",
]

# The network's file in the workdir of a training run.
WORKDIR_FILE = "network.safetensors"


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A weights file that was read once: pass this on instead of the path.

    Attributes:
      params: the parameters of `fcn`, `resnet` or `osnet`.
      card: description of the network and its input.
      remarks: sentences for the user: prefixes taken off, arrays left out, which input convention was chosen and why.
      file: where it was read.
      checksum: SHA-256 of the file.
    """

    params: fcn.Params
    card: Card
    remarks: list[str]
    file: Path
    checksum: str
    _head: head_arrays.Head

    def __iter__(self) -> Iterator[Any]:
        """Parameters, card, remarks: ``params, card, remarks = weights.read(...)``."""
        return iter((self.params, self.card, self.remarks))

    def head(self, *, classes: int | None = None) -> dict[str, jax.Array]:
        """The arrays saved beside the network; see `load_head`."""
        with _errors_of(self.file):
            return _on_device(self._head.arrays(classes))


def load(path: str | os.PathLike[str]) -> fcn.Params:
    """Reads the convolutions of a VGG-16 (for `fcn`), a ResNet-50 (for `resnet`) or an OSNet (for `osnet`).

    Args:
      path: a file of NumPy's (.npz), safetensors' or torch's (.pth, .pt, .pth.tar, .bin, .ckpt) with Keras, torchvision
        or torchreid names, which a prefix may precede, an ONNX export of torch (.onnx) of an OSNet, or the workdir of a
        training run with its `network.safetensors`. The content decides about format and network, not the name. Pickled
        code is never run.

    Returns:
      `{"block1_conv1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}` in float32, or that of `resnet` or `osnet`;
      an OSNet whose batch normalisations are folded, as in an ONNX file, has none (see `osnet`).

    Raises:
      ValueError: if the file is missing, unreadable, of another format, holds NaN or infinite values, or is not
        exactly such a network of some width: every missing, unexpected and mis-shaped entry is listed.

    Example:
      >>> import tempfile
      >>> import jax
      >>> from dsr_jax import fcn, weights
      >>> params = fcn.init(jax.random.key(0), width=0.125)
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     weights.save(folder, params, weights.Card(width=0.125))
      ...     weights.load(folder)["block5_conv3"]["kernel"].shape
      (3, 3, 64, 64)
    """
    file = locate(path)
    tensors, card, _ = weights_file.read(file)
    with _errors_of(file):
        return _params(tensors, card)


def read(path: str | os.PathLike[str], *, preprocessing: str | None = None) -> Network:
    """Reads everything that a weights file says of its network.

    For a foreign file without a card, the architecture is the one that knows the names, the width that of the first
    convolution. The input convention is what running statistics or a published first layer show (`input_convention`);
    of Keras names it is "caffe" where they do not contradict, of an OSNet without such statistics "torch". Otherwise it
    must be given.

    Args:
      path: as for `load`.
      preprocessing: the input convention, for a foreign file that does not tell: "caffe", "caffe_rgb" or "torch".

    Returns:
      The `Network`.

    Raises:
      ValueError: as `load`; if the convention cannot be known and is not given; if the card says another.
    """
    if preprocessing is not None:
        Card(preprocessing=preprocessing)
    file = locate(path)
    sha256 = checksum(file)
    tensors, card, remarks = weights_file.read(file)
    with _errors_of(file):
        params = _params(tensors, card)
        head = _head(tensors, card)
        if card is None:
            card, further = foreign.card(params, tensors, preprocessing)
            remarks = remarks + further
        elif (count := len(ensemble.members(params))) > 1:
            remarks = [
                *remarks,
                f"an ensemble of {count} networks, which share {ensemble.shared_blocks(params)} blocks",
            ]
        if preprocessing not in (None, card.preprocessing):
            raise ValueError(
                f"its card says preprocessing={card.preprocessing!r}, and preprocessing={preprocessing!r} was given: "
                "leave that out"
            )
    return Network(params, card, remarks, file, sha256, head)


def load_head(path: str | os.PathLike[str], *, classes: int | None = None) -> dict[str, jax.Array]:
    """Reads the arrays saved beside the network, such as the identity classifier's; empty if there are none.

    Args:
      path: as for `load`.
      classes: how many classes the classifier must have, if it is there; default: any number.

    Returns:
      `{"kernel": ..., "bias": ...}`, whatever was given as `head` to `save`, or the classifier of a torchvision
      ResNet-50; a bias that the file does not have is zero. (That of a VGG-16 stands on dense layers, that of many
      re-identification networks on a neck, neither of which this library has: then it is left out.)

    Raises:
      ValueError: if the file is missing, unreadable or of another format, or has another number of classes.
    """
    file = locate(path)
    tensors, card, _ = weights_file.read(file)
    with _errors_of(file):
        return _on_device(_head(tensors, card).arrays(classes))


def read_card(path: str | os.PathLike[str], *, preprocessing: str | None = None) -> Card:
    """Reads what the file says about its network; arguments and errors are those of `read`."""
    return read(path, preprocessing=preprocessing).card


def save(
    path: str | os.PathLike[str],
    params: Mapping[str, Mapping[str, Any]],
    card: Card,
    *,
    head: Mapping[str, Any] | None = None,
    naming: str = "dsr_jax",
) -> None:
    """Writes a network that `load` reads back bit for bit; the file appears complete or not at all.

    With ``naming="torchvision"`` it is a state dict besides: torchvision's names, kernels as (out, in, 3, 3). In torch,

        tensors = safetensors.torch.load_file(path)
        features.load_state_dict({name.removeprefix("features."): x for name, x in tensors.items()})

    for a VGG-16's `features`; a whole ResNet-50 takes the tensors as they are, but for the classifier, with
    ``strict=False``. ``naming="torchreid"`` is the same for an OSNet: torchreid's model takes the tensors with
    ``strict=False`` (its classifier is not there); normalisations that were folded are written as ones that add the
    biases. The network expects input as the card says: of "caffe" preprocessing, BGR of 0 to 255 without the
    mean.

    Args:
      path: a `.safetensors` file, or a folder, in which `network.safetensors` is written.
      params: the network's nested dictionary, as `load` returns it.
      card: description of the network.
      head: arrays to keep beside it, such as the identity classifier's; `load_head` returns them.
      naming: names of the arrays, "dsr_jax", "torchvision", or "torchreid" of an OSNet. Torchvision has no name for the
        head of a VGG-16, whose classifier stands on dense layers, nor torchreid for one on the maps.

    Raises:
      ValueError: for another kind of file, another naming, or a head where none can be named; if `params` is not the
        network that `card` describes, or holds NaN or infinite values.
    """
    file = Path(path) / WORKDIR_FILE if Path(path).is_dir() else Path(path)
    if file.suffix != ".safetensors":
        raise ValueError(
            f"path={str(file)!r}: weights are written as .safetensors. For torch, write NAME.safetensors with "
            "naming='torchvision', and if it has to be a .pth, convert it there:\n"
            "  tensors = safetensors.torch.load_file('NAME.safetensors')\n"
            "  torch.save(tensors, 'NAME.pth')"
        )
    named = NAMES[card.architecture]
    if naming == "Keras" or naming not in named.NAMINGS:
        publisher = list(named.NAMINGS)[-1]
        raise ValueError(f"naming of {card.architecture} must be 'dsr_jax' or {publisher!r}, got {naming!r}")
    if naming != "dsr_jax" and len(ensemble.members(params)) > 1:
        raise ValueError(f"naming must be 'dsr_jax' of an ensemble, got {naming!r}: write its members one by one")
    written = osnet_names.unfolded(params) if naming == "torchreid" else params
    card = dataclasses.replace(card, sha256=digest(written))
    tensors = {f"{layer}.{leaf}": np.asarray(x) for layer, leaves in written.items() for leaf, x in leaves.items()}
    with _errors_of(file):
        _params(tensors, card)
    heads = head_arrays.ours(head or {})
    if naming != "dsr_jax":
        places = named.layers(naming).items()
        names = {key: place for key, place in places if place[1] in written.get(place[0], {})}
        tensors = named_arrays.from_params(written, names, transposed=True)
        heads = head_arrays.foreign(head or {}, card.architecture)
    tensors = {name: named_arrays.float32(name, x) for name, x in (tensors | heads).items()}
    note = json.dumps(dataclasses.asdict(card), allow_nan=False)
    atomic.write(file, safetensors.numpy.save(tensors, metadata={cards.KEY: note}))


def digest(params: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 of a network's numbers, independent of file format and names.

    Example:
      >>> import jax
      >>> from dsr_jax import fcn, weights
      >>> first, second = (fcn.init(jax.random.key(seed), width=0.125) for seed in (0, 1))
      >>> weights.digest(first) == weights.digest(second)
      False
    """
    found = hashlib.sha256()
    for layer in sorted(params):
        for leaf in sorted(params[layer]):
            x = np.ascontiguousarray(params[layer][leaf], "<f4")
            found.update(f"{layer}.{leaf} {x.shape}".encode() + x.tobytes())
    return found.hexdigest()


def locate(path: str | os.PathLike[str]) -> Path:
    """The weights file at a path: itself, or the `network.safetensors` of a training run's workdir.

    Raises:
      ValueError: if there is no such file, or the folder holds no network.
    """
    found = Path(path)
    if found.is_dir():
        if (found / WORKDIR_FILE).is_file():
            return found / WORKDIR_FILE
        holds = ", ".join(sorted(entry.name for entry in found.iterdir())[:12]) or "nothing"
        raise ValueError(
            f"weights folder {str(path)!r} has no {WORKDIR_FILE}; it holds {holds}. "
            "Pass the workdir of a training run that has finished, or a weights file."
        )
    if not found.is_file():
        raise ValueError(f"weights file {str(path)!r} does not exist: pass a file or the workdir of a training run.")
    return found


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a weights file, by any path that `load` takes.

    Raises:
      ValueError: if there is no such file.
    """
    with locate(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    """Within the block errors begin with the name of the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"weights file {str(file)!r}: {error}") from error


def _params(tensors: Tensors, card: Card | None) -> fcn.Params:
    """The file's arrays as the network that its card, or else its names, say."""
    names, width = NAMES[_architecture(tensors, card)], card.width if card else None
    parts = ensemble.members(tensors) if card else [tensors]
    if len(parts) == 1:
        params: fcn.Params = names.to_params(parts[0], width=width)
    else:
        params = ensemble.of([_member(names, number, part, width) for number, part in enumerate(parts, 1)])
    if card and card.sha256 not in (None, digest(params)):
        made = "; an ensemble is made by `ensemble.of`" if len(parts) > 1 else ""
        raise ValueError(
            "its numbers are not those that its card was written for (sha256): the file is damaged, or the card beside "
            f"it is of another one{made}"
        )
    return params


def _member(names: Any, number: int, tensors: Tensors, width: float | None) -> fcn.Params:
    """A member of an ensemble; errors name it."""
    try:
        return names.to_params(tensors, width=width)
    except ValueError as error:
        raise ValueError(f"member {number}: {error}") from error


def _architecture(tensors: Tensors, card: Card | None) -> str:
    return card.architecture if card else foreign.architecture(tensors)


def _head(tensors: Tensors, card: Card | None) -> head_arrays.Head:
    return head_arrays.find(tensors, _architecture(tensors, card), with_card=card is not None)


def _on_device(head: Mapping[str, Any]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(x) for name, x in head.items()}
