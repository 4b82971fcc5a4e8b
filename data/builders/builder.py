"""Builders: from a checked listing of pictures to array_record files, written whole or not at all.

A data-set module describes its source as a `Listing` and derives from `Builder`, a TensorFlow Datasets builder. The
rest is here and the same for all: records are written in the listing's order, in shards, and moved into place together
(see `placing`); identities, cameras, names and a fingerprint of the source go into the metadata. The same source always
makes the same bytes. Nothing uses the network or TensorFlow.
"""

import contextlib
import errno
import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.proto import tf_example_pb2
from tqdm import tqdm

from data.builders import placing
from data.builders.listing import Listing, Record
from data.source import Source
from data.sources import left_out

SHARD_SIZE = 2048  # images per array_record file
Counts = Mapping[str, Mapping[str, tuple[int, int]]]  # published version -> split -> (images, identities)


class Builder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
    """Base of the data sets: features, shards in the listing's order, metadata.

    A data set defines `listing(source)` and the constants below. Raise `VERSION` whenever the same source would be
    stored differently.
    """

    ABOUT: ClassVar[str] = ""  # one sentence
    EXPECTED: ClassVar[str] = ""  # the tree that it reads, for messages
    CITATION: ClassVar[str] = ""  # the paper to cite
    LICENCE: ClassVar[str] = ""  # a note on the licence
    HOMEPAGE: ClassVar[str] = ""  # where to get it
    COUNTS: ClassVar[Counts] = {}  # as published, for each version that circulates; empty where nothing is published
    CAMERA_RULE: ClassVar[str] = "cross"  # how it is evaluated, see `dsr_jax.evaluation.candidates`
    # What probes show: "whole" people, "partial" ones, or "unknown", as of one's own pictures.
    PROBES: ClassVar[str] = "unknown"
    content: Listing | None = None
    bar: tqdm = tqdm(disable=True)
    url_infos: ClassVar[Mapping[str, Any]] = {}  # checksums of downloads: none, so TFDS need not look for them

    def __init__(self, *, data_dir: str | os.PathLike[str], **options: Any) -> None:
        """Completes what a killed process left half done in `data_dir`, see `placing`; the rest is TFDS's."""
        placing.recover(Path(data_dir), self.name)
        super().__init__(data_dir=data_dir, file_format="array_record", **options)

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(skip_registration=True, **arguments)  # TFDS's global names are for its own data sets

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The listing of a source.

        Args:
          source: file or folder, with options after a `#`; None where the user names none.

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
        return _Info(
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
            raise ValueError(f"{self.name} is built with data.builders.builder.build(builder, listing)")
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

    def _example_writer(self) -> tfds.core.ExampleWriter:
        return _Writer(self.info.file_format)

    @property
    def is_built(self) -> bool:
        """Whether the data set lies ready under its `data_dir`."""
        return (Path(self.data_dir) / "dataset_info.json").is_file()

    @property
    def other_versions(self) -> list[Path]:
        """Folders of this data set as older or newer versions of its builder wrote it."""
        beside = [path.parent for path in Path(self.data_dir).parent.glob("*.*.*/dataset_info.json")]
        others = [folder for folder in beside if folder.name != str(self.version)]
        return sorted(others, key=lambda folder: tfds.core.Version(folder.name))

    def absence(self) -> ValueError:
        """The error for a data set that is not there, or only as another version of the builder wrote it."""
        root = self.data_dir_root
        remedy = f"run\n  python -m data.prepare --dataset={self.name} --source=PATH --data_dir={root}"
        if not self.other_versions:
            return ValueError(f"{self.name} is not prepared in {root}: {remedy}")
        other_version = self.other_versions[-1].name
        newer = tfds.core.Version(other_version) > self.version
        age = "a newer" if newer else "an older"
        other = f"{age} version of its builder ({other_version}; this one is {self.version})"
        update = "update this code, or " if newer else ""
        return ValueError(f"{self.name} in {root} was prepared by {other}: {update}{remedy}")

    def source(self, split: str) -> Source:
        """The split's images, read from disk; `data.load` is the way in that explains what is missing."""
        if missing := [path for path in self.info.splits[split].filepaths if not Path(path).is_file()]:
            raise ValueError(f"{missing[0]} is missing: prepare {self.name} again, with --overwrite")
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
    """Writes a checked listing under the builder's `data_dir`, atomically.

    Args:
      builder: the data set, made with its `data_dir`.
      listing: its pictures, as `checked` gives them.
      fingerprint: of the source as it was before pictures were left out.
      skipped: the pictures left out, for the metadata.
      overwrite: replace a data set that is there already; otherwise it stays untouched.
      progress: show a progress bar.

    Raises:
      ValueError: another process has just built it from another source.
      OSError: the disk is full or `data_dir` is not writable; nothing half-written is left.
    """
    root, name = Path(builder.data_dir_root), builder.name
    with placing.locked(root, name):
        placing.tidy(root, name)
        if overwrite or not builder.is_built:
            with placing.scratch(root, name) as scratch:
                fresh = type(builder)(data_dir=scratch)
                _write(fresh, listing, _metadata(listing, fingerprint, skipped), progress=progress)
                placing.put(Path(fresh.data_dir), Path(builder.data_dir))
        builder.info.metadata.clear()
        with quiet():
            builder.info.read_from_directory(builder.data_dir)
    if builder.info.metadata["fingerprint"] != fingerprint:
        raise ValueError(f"{name} in {root} is there, built from another source: pass --overwrite to build it again")


def _metadata(listing: Listing, fingerprint: str, skipped: Sequence[str]) -> dict[str, Any]:
    index = {
        split: {
            "identities": [r.identity for r in records],
            "cameras": [r.camera for r in records],
            "names": [r.name for r in records],
        }
        for split, records in listing.splits.items()
    }
    labels = {str(number): label for number, label in listing.labels.items()}
    return {
        "fingerprint": fingerprint,
        "index": index,
        "labels": labels,
        "skipped": list(skipped),
        "remarks": [*left_out.sentences(listing.left_out), *listing.remarks],
    }


def _write(fresh: Builder, listing: Listing, metadata: Mapping[str, Any], *, progress: bool) -> None:
    """Writes the data set to the folder of a builder of its own."""
    fresh.content = listing
    fresh.info.metadata.update(metadata)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    nowhere = Path(fresh.data_dir_root) / "downloads"
    with quiet(), tqdm(total=len(listing), desc="write", unit="image", disable=not progress, delay=2) as fresh.bar:
        fresh.download_and_prepare(download_dir=nowhere, download_config=config)


class _Info(tfds.core.DatasetInfo):
    """Information on a data set, without the look at TFDS's server and its temporary folder."""

    def initialize_from_bucket(self) -> None:
        """Does nothing."""


class _Writer(tfds.core.ExampleWriter):
    """Writer that stores equal examples as equal bytes, and raises OSError when the disk is full."""

    def write(self, path: Any, examples: Iterable[tuple[Any, bytes]]) -> Any:
        """Writes a shard."""
        # The features of an example are a map, whose order Protocol Buffers leave open unless they are asked.
        ordered = (
            (key, tf_example_pb2.Example.FromString(record).SerializeToString(deterministic=True))
            for key, record in examples
        )
        try:
            return super().write(path, ordered)
        except RuntimeError as error:  # ArrayRecord's only one, which then names the file
            if os.fspath(path) not in str(error):
                raise
            number = errno.ENOSPC if os.strerror(errno.ENOSPC) in str(error) else errno.EIO
            raise OSError(
                number, f"cannot write the data set ({error}): free some space, or give another --data_dir"
            ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what TFDS prints about loading, and about a download that does not happen."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
