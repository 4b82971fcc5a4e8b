"""Description of a drawn person: the attributes that stay the same from one image to the next.

The data set stands in for the photographs of Sec. 4. A `Person` has the attributes by which people differ in a
surveillance crop, and few colours, shared with all others: the combination, the patterns and the proportions tell.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

Colour = tuple[int, int, int]

CLOTH: tuple[Colour, ...] = (
    (34, 34, 38), (108, 110, 114), (226, 224, 218), (38, 52, 96), (158, 42, 44), (58, 100, 66), (178, 152, 112),
    (112, 156, 198),
)  # fmt: skip
_WORN = (0.22, 0.16, 0.14, 0.16, 0.08, 0.08, 0.08, 0.08)  # shares: streets are mostly dark
SKIN: tuple[Colour, ...] = ((238, 200, 172), (214, 168, 132), (160, 112, 80), (98, 66, 48))
HAIR: tuple[Colour, ...] = ((28, 24, 24), (74, 50, 34), (150, 112, 66), (150, 146, 142))
PATTERNS = ("plain", "plain", "plain", "hoops", "stripes", "checks", "dots", "block", "logo")
UPPERS = ("shirt", "sweater", "jacket", "coat")
LOWERS = ("trousers", "trousers", "shorts", "skirt")
BAGS = ("none", "none", "backpack", "satchel", "handbag")
HEADS = ("short", "short", "long", "bun", "cap", "beanie")


@dataclasses.dataclass(frozen=True)
class Person:
    """Description of a drawn person."""

    identity: int
    seed: int
    height: float  # of the body, relative to the tallest
    build: float  # width relative to a medium build
    legs: float  # length of the legs, relative to the body's height
    skin: Colour
    hair: Colour
    head: str
    upper: str
    upper_colour: Colour
    pattern: str
    second_colour: Colour
    lower: str
    lower_colour: Colour
    shoes: Colour
    bag: str
    bag_colour: Colour
    bag_side: int


def person(identity: int, *, seed: int = 0) -> Person:
    """The person of a number: equal arguments give an equal person.

    Example:
      >>> person(3) == person(3), person(3) == person(4)
      (True, False)
    """
    rng = np.random.default_rng([seed, identity])
    first, second, lower, shoes, bag = (CLOTH[i] for i in rng.choice(len(CLOTH), size=5, p=_WORN))
    while second == first:
        second = CLOTH[rng.integers(len(CLOTH))]

    def pick(options: Sequence[str]) -> str:
        return options[int(rng.integers(len(options)))]

    return Person(
        identity=identity,
        seed=seed,
        height=float(rng.uniform(0.84, 1.0)),
        build=float(rng.uniform(0.82, 1.25)),
        legs=float(rng.uniform(0.45, 0.52)),
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        head=pick(HEADS),
        upper=pick(UPPERS),
        upper_colour=first,
        pattern=pick(PATTERNS),
        second_colour=second,
        lower=pick(LOWERS),
        lower_colour=lower,
        shoes=shoes,
        bag=pick(BAGS),
        bag_colour=bag,
        bag_side=int(rng.choice([-1, 1])),
    )


def people(count: int, *, seed: int = 0, first: int = 0) -> list[Person]:
    """People numbered from `first`: the same number and seed is always the same person.

    Example:
      >>> [one.identity for one in people(3, first=10)]
      [10, 11, 12]
    """
    return [person(identity, seed=seed) for identity in range(first, first + count)]
