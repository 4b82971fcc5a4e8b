"""The network's weights as files: read Keras, torchvision and our own, write our own.

The feature extractor of Sec. 3.1 starts from VGG-16 trained on ImageNet (Sec. 4: "pre-trained on ImageNet"), that of
Sec. 4.7 from ResNet-50, so the weights theta come from somebody else's file. Whatever the file calls them
(`block1_conv1/kernel` in Keras, `features.0.weight` or `layer1.0.conv1.weight` with OIHW kernels in torchvision),
`load` returns the nested dictionary of `fcn` or `resnet` in float32, kernels HWIO. A file that is not exactly such a
network is one `ValueError` that lists every missing, unexpected and mis-shaped entry. Our own files are safetensors
with a `Card` inside that says which network it is and what it expects of its input; for foreign files the card is
derived.
"""

import dataclasses
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from dsr_jax import fcn, named_arrays, resnet, resnet50_names, torch_file, torch_pickle, vgg16_names, whole

# The network's file in the workdir of a training run.
WORKDIR_FILE = "network.safetensors"
# Who knows the names of a network's arrays, by its name on a card.
NAMES = {"vgg16": vgg16_names, "resnet50": resnet50_names}
# The key of the card in our files' metadata.
CARD_KEY = "dsr_jax.card"


@dataclasses.dataclass(frozen=True)
class Card:
    """What a network's file says about itself.

    Attributes:
        architecture: the network's name, "vgg16" or "resnet50".
        width: channels as a multiple of the published network's.
        output_stride: input pixels per map position that it was trained with; `None` if the file does not say.
        preprocessing: input convention, "caffe" (BGR, 0-255, mean subtracted) or "torch" (RGB, 0-1, standardised).
        extra: anything else that JSON can hold, such as the training configuration and scores.
        sha256: checksum of the network's numbers (`digest`), which `load` compares; `None` if the file does not say.
            `save` fills it in; cards are compared without it.

    Example:
        >>> Card(width=0.25, output_stride=16).preprocessing
        'caffe'
    """

    architecture: str = "vgg16"
    width: float = 1.0
    output_stride: int | None = None
    preprocessing: str = "caffe"
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    sha256: str | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuses what no network of ours could mean."""
        if self.architecture not in NAMES:
            raise ValueError(f"architecture={self.architecture!r}: pass one of {', '.join(NAMES)}.")
        if not self.width > 0:
            raise ValueError(f"width={self.width}: pass a positive multiple of the published network's channels.")
        if self.preprocessing not in ("caffe", "torch"):
            raise ValueError(f"preprocessing={self.preprocessing!r}: pass 'caffe' or 'torch'.")
        if self.output_stride not in (None, 16, 32):
            raise ValueError(f"output_stride={self.output_stride!r}: pass 16, 32 or None.")


def load(path: str | os.PathLike[str]) -> fcn.Params:
    """Reads the convolutions of a VGG-16 (for `fcn`) or a ResNet-50 (for `resnet`); the file says which.

    Args:
        path: a `.npz`, `.safetensors`, `.pth` or `.pt` file with Keras or torchvision names, or the workdir of a
            training run, whose `network.safetensors` is then read. Pickled code in a `.pth` file is never run.

    Returns:
        `{"block1_conv1": {"kernel": (3, 3, in, out), "bias": (out,)}, ...}` in float32, or that of `resnet`.

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
    tensors, card = _read(file)
    return _network(tensors, file, card)


def load_head(path: str | os.PathLike[str], *, classes: int | None = None) -> dict[str, jax.Array]:
    """Reads the arrays saved beside the network, such as the identity classifier's; empty if there are none.

    Args:
        path: as for `load`.
        classes: how many classes the classifier must have, if it is there; default: any number.

    Returns:
        `{"kernel": ..., "bias": ...}`, whatever was given as `head` to `save`, or the classifier of a torchvision
        ResNet-50. (That of a VGG-16 stands on dense layers, which this library does not have.)

    Raises:
        ValueError: if the file is missing, unreadable or of another format, or has another number of classes.
    """
    file = locate(path)
    tensors, card = _read(file)
    head = {name.removeprefix("head."): x for name, x in tensors.items() if name.startswith("head.")}
    try:
        if not head and (card.architecture if card else _architecture(tensors)) == "resnet50":
            head = resnet50_names.classifier(tensors)
        found = head["bias"].size if "bias" in head else classes
        if classes is not None and found != classes:
            raise ValueError(
                f"its classifier has {found} classes, {classes} are needed: train a new one, or leave it out"
            )
    except ValueError as error:
        raise ValueError(f"weights file {str(file)!r}: {error}") from error
    return {name: jnp.asarray(x) for name, x in head.items()}


def read_card(path: str | os.PathLike[str]) -> Card:
    """Reads what the file says about its network; for a foreign file, what its names and shapes say.

    Keras names mean "caffe" preprocessing and torchvision names "torch", as their publishers trained them; the
    architecture is the one that knows the names, the width that of the first convolution.

    Args:
        path: as for `load`.

    Returns:
        The card.

    Raises:
        ValueError: as for `load`.
    """
    file = locate(path)
    tensors, card = _read(file)
    if card is None:
        params, architecture = _network(tensors, file), _architecture(tensors)
        preprocessing = "torch" if NAMES[architecture].naming(tensors) == "torchvision" else "caffe"
        card = Card(architecture=architecture, width=_width(params, architecture), preprocessing=preprocessing)
    return card


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

        features.load_state_dict({name.removeprefix("features."): x for name, x in load_file(path).items()})

    (`safetensors.torch.load_file`, or `torch.load` of a `.pth` file, for a VGG-16's `features`; a whole ResNet-50 takes
    the file as it is, but for the classifier, with ``strict=False``). The network expects input as the card says: of
    "caffe" preprocessing, BGR of 0 to 255 without the mean. No torch is needed to write either.

    Args:
        path: a `.safetensors` file, or a folder, in which `network.safetensors` is written. With torchvision's naming
            also a `.pth` file; its card is then beside it as `NAME.pth.json`, where `load` and `read_card` look for it.
        params: the network's nested dictionary, as `load` returns it.
        card: what the network is.
        head: arrays to keep beside it, such as the identity classifier's; `load_head` returns them.
        naming: whose names the file has, "dsr_jax" or "torchvision". There is no name for our head among torchvision's
            for a VGG-16, whose classifier stands on dense layers.

    Raises:
        ValueError: for another naming, or a head where none can be named; if `params` is not the network that `card`
            describes, or holds NaN or infinite values.
    """
    file = Path(path) / WORKDIR_FILE if Path(path).is_dir() else Path(path)
    if file.suffix != ".safetensors" and (file.suffix, naming) != (".pth", "torchvision"):
        raise ValueError(
            f"path={str(file)!r}: weights are written as .safetensors, or as .pth with naming='torchvision'; choose "
            "such a name."
        )
    card = dataclasses.replace(card, sha256=digest(params))
    tensors = {f"{layer}.{leaf}": np.asarray(x) for layer, leaves in params.items() for leaf, x in leaves.items()}
    _network(tensors, file, card)
    heads = {f"head.{name}": np.asarray(x) for name, x in (head or {}).items()}
    if naming == "torchvision":
        names = NAMES[card.architecture].layers("torchvision")
        tensors = named_arrays.from_params(params, names, transposed=True)
        heads = _classifier(card.architecture, head or {})
    elif naming != "dsr_jax":
        raise ValueError(f"naming must be 'dsr_jax' or 'torchvision', got {naming!r}")
    tensors = {name: named_arrays.float32(name, x) for name, x in (tensors | heads).items()}
    note = json.dumps(dataclasses.asdict(card), allow_nan=False)
    if file.suffix == ".pth":
        # The card last: one that is left of an older file is not that of these numbers, which `load` notices.
        whole.write(file, torch_pickle.content(tensors))
        whole.write(_beside(file), note.encode())
    else:
        whole.write(file, safetensors.numpy.save(tensors, metadata={CARD_KEY: note}))


def digest(params: Mapping[str, Mapping[str, Any]]) -> str:
    """SHA-256 of a network's numbers, whatever file they are kept in and under whatever names.

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
    """Returns the weights file that `path` means: itself, or a training run's `network.safetensors`.

    Args:
        path: a file or a folder.

    Returns:
        The file, which exists.

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


def _network(tensors: named_arrays.Tensors, file: Path, card: Card | None = None) -> fcn.Params:
    """The file's arrays as the network that its card, or else its names, say; or an error that names the file."""
    try:
        architecture = card.architecture if card else _architecture(tensors)
        params: fcn.Params = NAMES[architecture].to_params(tensors, width=card.width if card else None)
        if card and card.sha256 not in (None, digest(params)):
            raise ValueError(
                "its numbers are not those that its card was written for (sha256): the file is damaged, or the card "
                "beside it is of another one"
            )
        return params
    except ValueError as error:
        raise ValueError(f"weights file {str(file)!r}: {error}") from error


def _classifier(architecture: str, head: Mapping[str, Any]) -> named_arrays.Tensors:
    """The head as torchvision's classifier."""
    if not head:
        return {}
    if architecture == "vgg16" or set(head) != {"kernel", "bias"}:
        raise ValueError(
            f"torchvision has no names for a head of {', '.join(sorted(head))} on {architecture}: save without it"
        )
    return {"fc.weight": np.ascontiguousarray(np.asarray(head["kernel"]).T), "fc.bias": np.asarray(head["bias"])}


def _architecture(tensors: named_arrays.Tensors) -> str:
    """The network that knows most of the names."""
    known = {architecture: names.known(tensors) for architecture, names in NAMES.items()}
    if not any(known.values()):
        raise ValueError(
            "no VGG-16 and no ResNet-50: expected names such as 'block1_conv1/kernel', 'features.0.weight' or "
            f"'layer1.0.conv1.weight', found {named_arrays.listed(tensors) or 'nothing'}"
        )
    return max(known, key=lambda architecture: known[architecture])


def _width(params: fcn.Params, architecture: str) -> float:
    """Channels of the first convolution as a multiple of the published network's."""
    if architecture == "resnet50":
        return params["block1_conv"]["kernel"].shape[3] / resnet.CHANNELS
    return params["block1_conv1"]["bias"].size / fcn.CHANNELS[0]


def _read(file: Path) -> tuple[named_arrays.Tensors, Card | None]:
    """Every array of a file under the file's own names, and its card if it is one of ours."""
    try:
        match file.suffix:
            case ".npz":
                with zipfile.ZipFile(file), np.load(file, allow_pickle=False) as archive:
                    return dict(archive), None
            case ".safetensors":
                with safetensors.safe_open(file, framework="numpy") as archive:
                    tensors = {name: archive.get_tensor(name) for name in archive.keys()}
                    return _without_prefix(tensors), _parse_card(archive.metadata())
            case ".pth" | ".pt":
                return _without_prefix(torch_file.read_state_dict(file)), _card_beside(file)
    except (
        ValueError,
        TypeError,
        OSError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
        safetensors.SafetensorError,
    ) as error:
        raise ValueError(f"weights file {str(file)!r} cannot be read as {file.suffix}: {error}") from error
    raise ValueError(f"weights file {str(file)!r}: its name must end in .npz, .safetensors, .pth or .pt.")


def _beside(file: Path) -> Path:
    """Where the card of a `.pth` file is, which has no place for it."""
    return file.with_name(f"{file.name}.json")


def _card_beside(file: Path) -> Card | None:
    """The card beside a `.pth` file, if there is one."""
    note = _beside(file)
    if not note.is_file():
        return None
    try:
        return _parse_card({CARD_KEY: note.read_text(encoding="utf-8")})
    except (ValueError, TypeError) as error:
        raise ValueError(f"the card beside it, {str(note)!r}, is none of ours (move it away): {error}") from error


def _parse_card(metadata: Mapping[str, str] | None) -> Card | None:
    """The card in a safetensors file's metadata, if there is one."""
    text = (metadata or {}).get(CARD_KEY)
    return None if text is None else Card(**json.loads(text))


def _without_prefix(tensors: named_arrays.Tensors) -> named_arrays.Tensors:
    """The same under the names that they had before torch's data-parallel wrapper put `module.` in front."""
    return {name.removeprefix("module."): x for name, x in tensors.items()}
