"""The embedded data set: drawn people, seen by two cameras that disagree about them.

It needs no download and no photographs, and every pixel follows from the seed. As in the data sets of Sec. 4 the test
identities are new, probes come from one camera and the gallery from the other. The cameras differ in colour cast,
gamma, saturation, aspect ratio, sharpness, noise and background, and mostly see people from the front and from behind;
people share a palette of eight colours. So raw colours do not match; what people wear does.

Options: `--source=people=700,seed=1,difficulty=hard`, the number of people, which, and how far the cameras disagree.
"""

import dataclasses
import io
from pathlib import Path

from PIL import Image

from data.builders.builder import Builder
from data.builders.listing import Listing, Record
from data.sources import options
from data.synthetic.camera import DIFFICULTIES
from data.synthetic.person import Person, people
from data.synthetic.picture import HEIGHT, WIDTH, draw


@dataclasses.dataclass(frozen=True)
class _Shot:
    """`Record.read` of a drawn picture."""

    person: Person
    camera: int
    index: int
    height: int
    width: int
    difficulty: str

    def __call__(self) -> bytes:
        buffer = io.BytesIO()
        size = {"height": self.height, "width": self.width}
        pixels = draw(self.person, self.camera, self.index, **size, difficulty=self.difficulty)
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()


def listing(
    *,
    train: int = 150,
    test: int = 60,
    images: int = 4,
    seed: int = 0,
    height: int = HEIGHT,
    width: int = WIDTH,
    difficulty: str = "normal",
) -> Listing:
    """The data set before it is drawn.

    Args:
      train: number of training people, with `images` pictures by each camera.
      test: number of other people, with `images` probes each by camera 0 and as many gallery images by camera 1.
      images: pictures per person and camera; 3 or more allow three-shot evaluation.
      seed: of everything.
      height: of the pictures, in pixels.
      width: of the pictures, in pixels.
      difficulty: how far the cameras disagree: "easy", "normal" or "hard".

    Example:
      >>> {split: len(records) for split, records in listing(train=3, test=2).splits.items()}
      {'train': 24, 'probe': 8, 'gallery': 8}
    """
    crowd = people(train + test, seed=seed)

    def records(persons: list[Person], *cameras: int) -> list[Record]:
        return [
            Record(f"{p.identity:04d}_c{c}_{i}.png", p.identity, c, _Shot(p, c, i, height, width, difficulty))
            for p in persons
            for c in cameras
            for i in range(images)
        ]

    settings = f"synthetic {Synthetic.VERSION} {train} {test} {images} {seed} {height} {width}"
    settings += "" if difficulty == "normal" else f" {difficulty}"  # as before there was a choice
    splits = {
        "train": records(crowd[:train], 0, 1),
        "probe": records(crowd[train:], 0),
        "gallery": records(crowd[train:], 1),
    }
    return Listing(splits, settings=settings)


class Synthetic(Builder):
    """The embedded data set; by default 150 people to train on, 60 to test on, four images per camera."""

    VERSION = "1.0.0"
    ABOUT = "Drawn people, seen by two cameras; 150 for training and 60 for testing unless told otherwise."
    LICENCE = "Nobody's pictures: drawn by this program, free to use."
    HOMEPAGE = "Nothing to get."
    PROBES = "whole"

    @classmethod
    def listing(cls, source: Path | None) -> Listing:
        """The pictures by the options in `source`; the default is `people=210,seed=0,difficulty=normal,images=4`.

        Of `people`, five in seven are trained on.
        """
        if source is None:
            return listing()
        defaults = {"people": "210", "seed": "0", "difficulty": "normal", "images": "4"}
        try:
            chosen = options.options(str(source), defaults)
        except ValueError as error:
            raise ValueError(f"{error}: the synthetic data set is drawn, leave --source out or name options") from error
        count = options.integer(chosen, "people", low=2, high=1_000_000)
        train = count * 5 // 7
        return listing(
            train=train,
            test=count - train,
            images=options.integer(chosen, "images", low=1, high=1_000),
            seed=options.integer(chosen, "seed", low=0, high=2**31 - 1),
            difficulty=options.choice(chosen, "difficulty", list(DIFFICULTIES)),
        )
