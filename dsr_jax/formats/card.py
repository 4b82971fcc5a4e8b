"""The card of a weights file: which network it is, and what it expects of its input."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dsr_jax import fcn
from dsr_jax.formats import osnet_names, resnet50_names, vgg16_names

# Parameter-name maps, by the network's name on a card.
NAMES: dict[str, Any] = {"vgg16": vgg16_names, "resnet50": resnet50_names, **osnet_names.NAMES}
# The key of the card in our files' metadata.
KEY = "dsr_jax.card"


@dataclasses.dataclass(frozen=True)
class Card:
    """A weights file's description of its network.

    Attributes:
      architecture: the network's name: "vgg16", "resnet50", "osnet", "osnet_ibn" or "osnet_ain".
      width: channels as a multiple of the published network's.
      output_stride: input pixels per map position that it was trained with; `None` if the file does not say.
      preprocessing: input convention, "caffe" (BGR, 0-255, mean subtracted), "caffe_rgb" (the same in RGB) or "torch"
        (RGB, 0-1, standardised).
      extra: anything else that JSON can hold, such as the training configuration and scores.
      sha256: checksum of the network's numbers (`digest`), which `load` compares; `None` if the file does not say.
        `save` fills it in; cards are compared without it.

    Example:
      >>> from dsr_jax import weights
      >>> weights.Card(width=0.25, output_stride=16).preprocessing
      'caffe'
    """

    architecture: str = "vgg16"
    width: float = 1.0
    output_stride: int | None = None
    preprocessing: str = "caffe"
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    sha256: str | None = dataclasses.field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Checks every value."""
        if self.architecture not in NAMES:
            raise ValueError(f"architecture={self.architecture!r}: pass one of {', '.join(NAMES)}.")
        if not self.width > 0:
            raise ValueError(f"width={self.width}: pass a positive multiple of the published network's channels.")
        if self.preprocessing not in fcn.CONVENTIONS:
            raise ValueError(f"preprocessing={self.preprocessing!r}: pass one of {', '.join(fcn.CONVENTIONS)}.")
        strides = (None, 16) if self.architecture in osnet_names.NAMES else (None, 16, 32)
        if self.output_stride not in strides:
            raise ValueError(f"output_stride={self.output_stride!r}: pass {', '.join(map(str, strides[1:]))} or None.")


def parse(metadata: Mapping[str, str] | None) -> Card | None:
    """The card in a safetensors file's metadata, if there is one.

    Raises:
      ValueError: if it is not a card of ours.
      TypeError: likewise.
    """
    text = (metadata or {}).get(KEY)
    return None if text is None else Card(**json.loads(text))


def read_beside(file: Path) -> Card | None:
    """The card beside a `.pth` file, NAME.pth.json, if there is one: earlier versions wrote such files.

    Raises:
      ValueError: if it is not a card of ours.
    """
    note = file.with_name(f"{file.name}.json")
    if not note.is_file():
        return None
    try:
        return parse({KEY: note.read_text(encoding="utf-8")})
    except (ValueError, TypeError) as error:
        raise ValueError(f"the card beside it, {str(note)!r}, is none of ours (move it away): {error}") from error
