"""Building a data set: from a checked listing of pictures to array_record files, written whole or not at all.

A data-set module describes its source as a `Listing` and names itself in a `Builder`, a TensorFlow Datasets builder.
Everything else is here and the same for all of them: the records are written in the listing's order, in shards, to a
temporary directory that is renamed at the end; identities, cameras, names and a fingerprint of the source go into the
data set's metadata. Nothing uses the network or TensorFlow.
"""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from data.listing import Listing, Record
from data.source import SPLITS, Source

SHARD_SIZE = 2048  # images per array_record file


class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
    """Base of the data sets: features, shards in the listing's order, metadata.

    A data set derives from it, names its `VERSION`, `ABOUT` (one sentence), `EXPECTED` (the tree that it reads),
    `CITATION`, `LICENCE` (a note), `HOMEPAGE` (where to get it), `COUNTS` (as published: name of the version that
    circulates -> split -> (images, identities); empty where nothing is published) and `CAMERA_RULE` (how it is
    evaluated, see `protocols`), and gives `listing(source)`. Raise `VERSION` whenever the same source would be stored
    differently.
    """

    ABOUT: ClassVar[str] = ""
    EXPECTED: ClassVar[str] = ""
    CITATION: ClassVar[str] = ""
    LICENCE: ClassVar[str] = ""
    HOMEPAGE: ClassVar[str] = ""
    COUNTS: ClassVar[Mapping[str, Mapping[str, tuple[int, int]]]] = {}
    CAMERA_RULE: ClassVar[str] = "cross"
    content: Listing | None = None
    bar: tqdm = tqdm(disable=True)
    url_infos: ClassVar[Mapping[str, Any]] = {}  # checksums of downloads: none, so TFDS need not look for them

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(skip_registration=True, **arguments)  # TFDS's global names are for its own data sets

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """What `source` holds.

        Args:
          source: file or folder that the user names; None if the user names none.

        Raises:
          ValueError: the source is missing or is not what the data set expects.
        """
        raise NotImplementedError(f"{cls.__name__} must define listing(source)")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(doc="the picture's own file, undecoded"),
            "identity": tfds.features.Scalar(np.int64, doc="person; -1 is nobody"),
            "camera": tfds.features.Scalar(np.int64, doc="camera; -1 is unknown"),
            "name": tfds.features.Text(doc="the picture's name in its source"),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.ABOUT,
            citation=self.CITATION or None,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _shard_iterators_per_split(self, dl_manager: object) -> dict[str, list[Callable[[], Iterator[Any]]]]:
        del dl_manager  # nothing is ever downloaded
        if self.content is None:
            raise ValueError(f"{self.name} is built with data.builder.build(builder, listing)")
        return {
            split: [
                functools.partial(self._examples, records[start : start + SHARD_SIZE], start)
                for start in range(0, len(records), SHARD_SIZE)
            ]
            for split, records in self.content.splits.items()
        }

    def _examples(self, records: Sequence[Record], start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, record in enumerate(records, start):
            # The image feature calls `record.read()`, so that at most one file's bytes are in memory.
            yield key, {"image": record, "identity": record.identity, "camera": record.camera, "name": record.name}
            self.bar.update()

    @property
    def is_built(self) -> bool:
        """Whether the data set lies ready under its `data_dir`."""
        return Path(self.data_dir).is_dir()

    def source(self, split: str) -> Source:
        """The split's images, read from disk; `data.load` is the way in that explains what is missing."""
        index = self.info.metadata["index"][split]
        decoders = {"image": tfds.decode.SkipDecoding()}
        with quiet():
            records = self.as_data_source(split, decoders=decoders)
        return Source(records, title=f"{self.name}/{split}", **index)


def build(
    builder: Builder,
    listing: Listing,
    *,
    fingerprint: str,
    skipped: Sequence[str] = (),
    overwrite: bool = False,
    progress: bool = False,
) -> None:
    """Writes a checked listing under the builder's `data_dir`, whole or not at all.

    Args:
      builder: the data set, made with its `data_dir`.
      listing: its pictures, as `checked` gives them.
      fingerprint: of the source as it was before pictures were left out.
      skipped: the pictures left out, kept in the metadata.
      overwrite: replace a data set that is there already; otherwise it stays untouched.
      progress: show a progress bar.

    Raises:
      ValueError: a split that no protocol knows.
      OSError: the disk is full or `data_dir` is not writable; nothing half-written is left.
    """
    if unknown := set(listing.splits) - set(SPLITS):
        raise ValueError(f"splits {sorted(unknown)} are unknown: use {', '.join(SPLITS)}")
    if overwrite and builder.is_built:
        with tempfile.TemporaryDirectory(dir=builder.data_dir_root, prefix=".building-") as scratch:
            fresh = type(builder)(data_dir=scratch)
            build(fresh, listing, fingerprint=fingerprint, skipped=skipped, progress=progress)
            shutil.rmtree(builder.data_dir)  # only now, when the new one is whole
            Path(fresh.data_dir).rename(builder.data_dir)
        return
    index = {
        split: {
            "identities": [r.identity for r in records],
            "cameras": [r.camera for r in records],
            "names": [r.name for r in records],
        }
        for split, records in listing.splits.items()
    }
    labels = {str(number): label for number, label in listing.labels.items()}
    metadata = {"fingerprint": fingerprint, "index": index, "labels": labels, "skipped": list(skipped)}
    metadata["remarks"] = list(listing.remarks)
    builder.content = listing
    builder.info.metadata.clear()
    builder.info.metadata.update(metadata)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    with (
        quiet(),
        tempfile.TemporaryDirectory() as unused,
        tqdm(total=len(listing), desc="write", unit="image", disable=not progress) as builder.bar,
    ):
        try:
            builder.download_and_prepare(download_dir=unused, download_config=config, file_format="array_record")
        except OSError:
            if not builder.is_built:
                raise  # otherwise another process has built the same in the meantime


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps TFDS from announcing what it loads, and a download that does not happen."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
