"""Orders of training images other than a shuffled epoch: balanced by person, or grouped.

`Balanced` batches hold K images of each of P people, for losses that compare the images of a batch. `Grouped` batches
hold images of one group, such as those that are padded to one shape. Both are endless sequences of positions, each a
function of its place alone: batch s is the places s B to (s + 1) B - 1, in any process and any order of reading.
"""

import bisect
from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

ENDLESS = 1 << 62


class _Rounds(Sequence[int]):
    """Positions made round by round; a derived class defines where a step's round begins, and its content."""

    def __init__(self, batch_size: int, seed: int):
        self._batch_size, self._seed = batch_size, seed
        # The last rounds; replaced as a whole, so that threads may read at once.
        self._recent: tuple[tuple[int, np.ndarray], ...] = ()

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, place: SupportsIndex) -> int:  # type: ignore[override]  # no slices
        step, row = divmod(range(ENDLESS)[place.__index__()], self._batch_size)
        number, at = self._find(step)
        return int(self._cached(number)[at, row])

    def _cached(self, number: int) -> np.ndarray:
        recent = self._recent
        for known, positions in recent:
            if known == number:
                return positions
        positions = self._round(number)
        self._recent = (*recent[-3:], (number, positions))
        return positions

    def _generator(self, *key: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, *key))

    def _find(self, step: int) -> tuple[int, int]:
        """The round of a step, and the number of its batch in the round."""
        raise NotImplementedError

    def _round(self, number: int) -> np.ndarray:
        """(batches, batch size) positions of a round."""
        raise NotImplementedError


class Balanced(_Rounds):
    """Batches of P people with K images each, in an endless sequence of positions.

    In a round every person comes once, in a new order; people who fill the round's last batch take turns. So after any
    number of rounds no two people differ by more than one appearance. A person's K images are drawn without repetition;
    a person with fewer than K comes with all of them, some more than once.

    Raises:
      ValueError: no people, a batch that is no multiple of K, or one of more people than there are.

    Example:
      >>> order = Balanced([7, 7, 7, 8, 8, 9], batch_size=4, per_person=2, seed=0)
      >>> [sorted(order[place] for place in range(4 * step, 4 * step + 4)) for step in range(2)]
      [[3, 4, 5, 5], [0, 2, 5, 5]]
    """

    def __init__(self, labels: ArrayLike, *, batch_size: int, per_person: int, seed: int):
        super().__init__(batch_size, seed)
        people, member = np.unique(np.asarray(labels), return_inverse=True)
        check_balanced(len(people), batch_size=batch_size, per_person=per_person)
        self._images = [np.flatnonzero(member == person) for person in range(len(people))]
        self._per_person, self._people_per_batch = per_person, batch_size // per_person
        self._batches = -(-len(people) // self._people_per_batch)
        self._fillers = self._batches * self._people_per_batch - len(people)

    def few(self) -> int:
        """Number of people with fewer than K images."""
        return sum(len(images) < self._per_person for images in self._images)

    def _find(self, step: int) -> tuple[int, int]:
        return divmod(step, self._batches)

    def _round(self, number: int) -> np.ndarray:
        rng = self._generator(0, number)
        chosen = [self._draw(rng, self._images[person]) for person in self._people(number, rng)]
        return np.reshape(chosen, (self._batches, self._batch_size))

    def _people(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """Every person once, then the fillers of the last batch, which are also in an earlier one."""
        count = len(self._images)
        order = rng.permutation(count)
        if not self._fillers:
            return order
        turns = self._generator(1).permutation(count)
        twice = turns[np.arange(number * self._fillers, (number + 1) * self._fillers) % count]
        once = order[~np.isin(order, twice)]
        alone = self._people_per_batch - self._fillers  # people beside the fillers in the last batch
        early = rng.permutation(np.concatenate([once[alone:], twice]))
        return np.concatenate([early, once[:alone], twice])

    def _draw(self, rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
        repeats = -(-self._per_person // len(images))
        return np.concatenate([rng.permutation(images) for _ in range(repeats)])[: self._per_person]


class Similar(Balanced):
    """Batches of a person and people who look alike, with K images each, in an endless sequence of positions.

    In a round every person comes once as the first of a batch, in a new order; the others of the batch are drawn
    without repetition from those who look most like the first. After Liao and Shao, "Graph sampling based deep metric
    learning for generalizable person re-identification" (CVPR 2022), whose batches are the very nearest.

    Args:
      similar: (people, n) for every person, in the order of the labels, the positions of the n most alike others.

    Raises:
      ValueError: as `Balanced`, and if ``similar`` is of other people, or of too few to fill a batch.

    Example:
      >>> order = Similar([7, 7, 8, 8, 9, 9], similar=[[1], [0], [1]], batch_size=2, per_person=1, seed=0)
      >>> [sorted({order[2 * step] // 2, order[2 * step + 1] // 2}) for step in range(3)]
      [[1, 2], [0, 1], [0, 1]]
    """

    def __init__(self, labels: ArrayLike, similar: ArrayLike, *, batch_size: int, per_person: int, seed: int):
        super().__init__(labels, batch_size=batch_size, per_person=per_person, seed=seed)
        self._similar = np.asarray(similar)
        count, others = len(self._images), self._people_per_batch - 1
        if self._similar.ndim != 2 or len(self._similar) != count or self._similar.shape[1] < others:
            raise ValueError(
                f"similar must have {count} rows, one per person, of at least {others} others each to fill a batch, "
                f"got shape {self._similar.shape}"
            )

    def _find(self, step: int) -> tuple[int, int]:
        return divmod(step, len(self._images))

    def _round(self, number: int) -> np.ndarray:
        rng, others = self._generator(0, number), self._people_per_batch - 1
        return np.stack(
            [
                np.concatenate(
                    [
                        self._draw(rng, self._images[person])
                        for person in (first, *rng.choice(self._similar[first], others, replace=False))
                    ]
                )
                for first in rng.permutation(len(self._images))
            ]
        )


class Grouped(_Rounds):
    """Batches of images of one group, in an endless sequence of positions.

    Each group is shuffled again and again, and gives a batch whenever B of its images wait. A round is as many images
    as there are; images that wait at its end come in the next, so that every image is seen equally often. A group
    smaller than B gives a batch every few rounds, in which its images come more than once.

    Raises:
      ValueError: no image, or a batch of none.

    Example:
      >>> order = Grouped([0, 0, 0, 0, 1, 1], batch_size=2, seed=0)
      >>> [sorted(order[place] for place in (2 * step, 2 * step + 1)) for step in range(3)]
      [[4, 5], [0, 3], [1, 2]]
    """

    def __init__(self, groups: ArrayLike, *, batch_size: int, seed: int):
        super().__init__(batch_size, seed)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        if not len(names):
            raise ValueError("there is no image to make batches of")
        self._members = [np.flatnonzero(member == group) for group in range(len(names))]

    def _find(self, step: int) -> tuple[int, int]:
        images = sum(map(len, self._members))
        # Fewer than B images of each group wait, so that the round lies between these two.
        low, high = (at * self._batch_size // images for at in (step, step + len(self._members)))
        number = low + bisect.bisect_right(range(low, high + 2), step, key=self._before) - 1
        return number, step - self._before(number)

    def _before(self, number: int) -> int:
        """Batches before a round."""
        return sum(number * len(members) // self._batch_size for members in self._members)

    def _round(self, number: int) -> np.ndarray:
        batches = [
            self._stream(group, batch * self._batch_size)
            for group, members in enumerate(self._members)
            for batch in range(*(n * len(members) // self._batch_size for n in (number, number + 1)))
        ]
        return self._generator(0, number).permutation(np.array(batches))

    def _stream(self, group: int, start: int) -> np.ndarray:
        """The batch at a place in the group's endless sequence of shuffles."""
        members = self._members[group]
        first, last = start // len(members), (start + self._batch_size - 1) // len(members)
        shuffles = [self._generator(1, group, n).permutation(members) for n in range(first, last + 1)]
        return np.concatenate(shuffles)[start - first * len(members) :][: self._batch_size]


def check_balanced(people: int, *, batch_size: int, per_person: int) -> None:
    """Raises ValueError if batches of `batch_size` images with `per_person` of each person cannot be made."""
    if per_person < 1:
        raise ValueError(f"images_per_identity must be at least 1, got {per_person}")
    if batch_size < 1 or batch_size % per_person:
        raise ValueError(
            f"a batch of {batch_size} does not hold {per_person} images of each of its people: "
            f"give a multiple of images_per_identity={per_person}"
        )
    if people < 1:
        raise ValueError("there is nobody to draw: the training split has no identities")
    if batch_size // per_person > people:
        raise ValueError(
            f"a batch of {batch_size} with {per_person} images per identity needs {batch_size // per_person} "
            f"identities and there are {people}: give at most {people * per_person}, or more images_per_identity"
        )
