"""Memory of the engine in XLA: what a tile takes on a device, and how large it may be.

What is reckoned here is at least what the compiler sets aside, which `test_xla_engine.py` checks.
"""

from typing import NamedTuple

import jax

from dsr_jax.matching import padded
from dsr_jax.matching.padded import Size
from dsr_jax.matching.positions import Positions
from dsr_jax.solvers.table import SOLVERS

TILE = 32  # gallery entries of a tile on a device, at most
LEAST, LANES = 4, 8704  # on a CPU: entries of a tile, at most if their columns are more than so many
SEARCHED, CODED = 1024, 64  # entries that are searched together and, of these, coded together, at most
COMFORT = 1 << 25  # bytes of correlations beyond which a larger tile no longer helps a CPU (it leaves the cache)
# XLA makes another program of a single entry than of several, which rounds otherwise; a solver stops within 1e-6 of the
# codes, so its distances would differ by as much. A device of several therefore has at least so many, if they fit.
PAIR = 2


class Bytes(NamedTuple):
    """What parts of a tile take.

    Attributes:
      entry: a gallery entry as it is kept.
      dictionary: an entry that is coded on, beside that.
      product: a column on an entry: its correlations.
      column: a column on an entry that is coded.
      common: a column, however many entries it is coded on.
    """

    entry: int
    dictionary: int
    product: int
    column: int
    common: int


class Sizes(NamedTuple):
    """How much a device works on at a time.

    Attributes:
      entries: gallery entries of a tile.
      columns: columns of a tile.
      coded: of a search, entries that are coded together.
    """

    entries: int
    columns: int
    coded: int


def columns(n: int) -> int:
    """``n`` rounded up to 17, 34, 68, ...: few sizes for few programs, none a multiple of a memory page.

    Example:
      >>> from dsr_jax.matching import memory
      >>> [memory.columns(n) for n in (1, 18, 1000)]
      [17, 34, 1088]
    """
    return 17 << max(0, -(-n // 17) - 1).bit_length()


def taken(image: Size, entry: Size, channels: int, coder: str) -> Bytes:
    """What a probe's columns and a gallery entry of these sizes take."""
    memory = SOLVERS[coder].memory
    per_column = -(-image.rows // image.blocks)  # positions
    product = entry.blocks * (2 + per_column) + entry.rows * per_column
    pooling = entry.rows * (entry.rows + 2 * entry.blocks)
    return Bytes(
        entry=kept(entry, channels),
        dictionary=4 * (pooling + entry.blocks * (entry.blocks * (3 + memory.square) + channels) + memory.dictionary),
        product=4 * product,
        column=4 * (product + entry.blocks * memory.atom + memory.column),
        common=4 * per_column * (2 * channels + 2 * image.rows + 8),
    )


def kept(size: Size, channels: int) -> int:
    """Bytes of an entry on the device."""
    return 4 * (size.rows * (channels + 3) + 5 * size.blocks)


def sizes(
    probes: Positions, gallery: Positions, *, coder: str, max_bytes: int, devices: int = 1, apart: bool = False
) -> Sizes:
    """How much is worked on at a time within ``max_bytes`` on each device.

    Args:
      probes: all of them.
      gallery: all entries.
      coder: name of the solver.
      max_bytes: the ceiling.
      devices: how many share out the gallery.
      apart: whether every entry has its own probes.

    Raises:
      ValueError: if not even one pair fits.
    """
    image, entry = padded.largest(probes), padded.largest(gallery)
    bytes_of = taken(image, entry, gallery.channels, coder)
    column, common = bytes_of.column + apart * bytes_of.common, (not apart) * bytes_of.common
    each = bytes_of.entry + bytes_of.dictionary
    least = columns(image.blocks)
    needed = each + least * (column + common)
    if needed > max_bytes:
        raise ValueError(
            f"max_bytes must be at least {needed} for one pair of {image.blocks} x {entry.blocks} blocks, "
            f"got {max_bytes}"
        )
    on_cpu = jax.default_backend() == "cpu"
    room = min(max_bytes, max(needed, COMFORT * SOLVERS[coder].memory.atom)) if on_cpu else max_bytes
    share = len(gallery) if devices == 1 else max(PAIR, -(-len(gallery) // devices))
    total, found = sum(len(members) * size.blocks for size, members in padded.groups(probes)), least
    tile = min(TILE, max(LEAST, LANES // total)) if on_cpu else TILE
    entries = max(1, min(tile, share, int(0.3 * room) // (each + least * column)))
    while found < total and entries * each + 2 * found * (entries * column + common) <= room:
        found *= 2
    return Sizes(entries, found, entries)


def searched(probe: Positions, gallery: Positions, *, coder: str, max_bytes: int) -> Sizes:
    """The same where one probe searches the gallery: half of the memory is for correlations, half for coding."""
    image, entry = padded.largest(probe), padded.largest(gallery)
    bytes_of, found = taken(image, entry, gallery.channels, coder), columns(image.blocks)
    coded = (max_bytes // 2) // (bytes_of.entry + bytes_of.dictionary + found * bytes_of.column)
    entries = (max_bytes // 2 - found * bytes_of.common) // (bytes_of.entry + found * bytes_of.product)
    entries = max(1, min(SEARCHED, entries))
    return Sizes(entries, found, max(1, min(CODED, entries, coded)))
