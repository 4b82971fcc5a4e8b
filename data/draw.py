"""Command that writes drawn people as picture files, to try a search without pictures of one's own.

    python -m data.draw --out=FOLDER

FOLDER/people then has a folder per person with whole pictures by one camera, FOLDER/probes parts of other pictures of
the same people by another. They are test people of the data set `synthetic`: a network that was trained on it has not
seen them. The same flags always write the same files.
"""

from dataclasses import dataclass
from pathlib import Path

from data import command
from data.binding import setting
from data.builders import synthetic
from data.builders.cropping import Cropped
from dsr_jax.formats import atomic

TRAIN = 150  # people of `synthetic` to train on, who come first


@dataclass(frozen=True)
class Drawn:
    """What is drawn."""

    out: str | None = setting(None, "Folder of the pictures.", path=True)
    people: int = setting(60, "How many people.", low=1)
    images: int = setting(4, "Pictures of each person.", low=1)
    probes: int = setting(1, "Partial pictures of each person.", low=0)
    seed: int = setting(0, "Seed of everything that is drawn.", low=0)


@dataclass(frozen=True)
class Settings:
    """Settings of the command."""

    drawn: Drawn = Drawn()
    given: frozenset[str] = frozenset()


def main(settings: Settings) -> None:
    """Writes the pictures that are not there yet."""
    how = settings.drawn
    if not how.out:
        raise ValueError("--out is needed: the folder of the pictures")
    out, count = Path(how.out), max(how.images, how.probes)
    atomic.check_folder(out, remedy="give another --out=FOLDER")
    splits = synthetic.listing(train=TRAIN, test=how.people, images=count, seed=how.seed).splits
    files = {}
    for start in range(0, len(splits["gallery"]), count):
        for record in splits["gallery"][start : start + how.images]:
            files[out / "people" / f"{record.identity:04d}" / record.name] = record.read
        for record in splits["probe"][start : start + how.probes]:
            files[out / "probes" / record.name] = Cropped(record.read, (how.seed, record.identity))
    for path, read in files.items():
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, read())
    print(f"{how.people * how.images} pictures in {out / 'people'}, {how.people * how.probes} in {out / 'probes'}")


if __name__ == "__main__":
    command.run(main, Settings)
