"""The description of a gallery on disk: its format, its network, and what its maps are."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

KEY = b"dsr_jax.gallery"  # in the metadata of the table's schema
FORMAT = 1
SHOWN = 24  # letters of a value in an error
FIELDS = ("architecture", "width", "output_stride", "preprocessing", "sha256")  # of a card


@dataclasses.dataclass(frozen=True)
class Description:
    """What all maps of a gallery have in common; written once, when it is created.

    Attributes:
      channels: the d of its (h, w, d) maps.
      dtype: their type on disk.
      scales: sides of the windows.
      pooling: "average" or "max".
      identities: "number", "text", or None where maps have no identity.
      vector: length of the network's own vectors; 0: there are none.
      stripes: stripes per map for the first stage of a search.
      network: what made the maps, see `network`; None: not said.
      format: version of this format.
    """

    channels: int
    dtype: str
    scales: tuple[int, ...]
    pooling: str
    identities: str | None
    vector: int
    stripes: int
    network: dict[str, Any] | None
    format: int = FORMAT

    def metadata(self) -> dict[bytes, bytes]:
        """The metadata of the table's schema."""
        return {KEY: json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False).encode()}

    @classmethod
    def read(cls, metadata: Mapping[bytes, bytes] | None, where: str) -> "Description":
        """The description in the metadata of a table's schema.

        Raises:
          ValueError: if there is none, or it is of another format; the message begins with ``where``.
        """
        text = (metadata or {}).get(KEY)
        if text is None:
            raise ValueError(f"{where} is a table of Lance, but no gallery: give a folder that Gallery.create wrote")
        content = json.loads(text)
        if content.get("format") != FORMAT:
            raise ValueError(
                f"{where} has format {content.get('format')}, this version reads format {FORMAT}: update dsr_jax, or "
                "create the gallery again"
            )
        return cls(**content | {"scales": tuple(content["scales"])})


def network(value: Any) -> dict[str, Any] | None:
    """What made the maps, as values that JSON has.

    Args:
      value: a `weights.Card` with its sha256, any mapping that tells networks and preprocessings apart (a checksum of
        the weights, the size that images are brought to), or None.

    Raises:
      ValueError: for anything else.

    Example:
      >>> from dsr_jax.gallery import description
      >>> description.network({"sha256": "0b1c", "size": (256, 128)})
      {'sha256': '0b1c', 'size': [256, 128]}
    """
    if value is None:
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {name: getattr(value, name, None) for name in FIELDS}
        if value["sha256"] is None:
            raise ValueError(
                "network is a card without sha256: dataclasses.replace(card, sha256=weights.digest(params))"
            )
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"network must be a weights.Card or a mapping such as {{'sha256': ...}}, got {value!r:.80}")
    try:
        return json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"network must hold what JSON can ({error}), got {value!r:.80}") from error


def check_network(where: str, has: dict[str, Any] | None, given: dict[str, Any] | None) -> None:
    """Raises ValueError, with all that differs, if a network is given and is another than the gallery's."""
    if given is None or given == has:
        return
    if has is None:
        raise ValueError(f"network: {where} does not say which network made its maps: create it again with network=")
    lines = [
        f"{name} is {_shown(has.get(name))} in the gallery, {_shown(given.get(name))} here"
        for name in sorted({*has, *given})
        if has.get(name) != given.get(name)
    ]
    raise ValueError(
        f"network: {where} has the maps of another network ({'; '.join(lines)}): take that one, another gallery, or "
        "make this one again"
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
