"""Held-out people of whom a network must not have seen a picture: its card says who was held out of its training."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import data
from dsr_jax import weights
from dsr_jax.evaluation import labels
from experiments.settings import former
from experiments.settings.pictures import DataSet, HeldOut

MEMBERS = "members"  # what the cards of an ensemble's members say, on its own


def check(card: weights.Card, searched: DataSet, people: HeldOut, *, argument: str = "weights") -> None:
    """Checks that none of the held-out people was trained on, as far as the card of a network says.

    A network that was trained here says on which data set, and how many of its people were held out, and which, in its
    last training; one that was trained elsewhere, or on other data, says nothing that could be checked. Of an ensemble
    every member is checked.

    Args:
      card: of the network.
      searched: the data set of these people.
      people: who is held out now.
      argument: the flag that gave the network.

    Raises:
      ValueError: naming the flags that hold out the people of the network's training.
    """
    if people.holdout:
        for extra in trainings(card):
            _check(extra, searched, people, argument)


def trainings(card: weights.Card) -> list[dict[str, Any]]:
    """What a card says of its network's last training; of an ensemble, of each member's."""
    return card.extra.get(MEMBERS, [card.extra])


def _check(extra: Mapping[str, Any], searched: DataSet, people: HeldOut, argument: str) -> None:
    """Checks what a card says of one network."""
    if extra.get("dataset") != searched.dataset:
        return
    flags = former.completed(extra.get("flags", {}))
    count, which = flags.get("holdout", 0), flags.get("holdout_from", "spread")
    known = flags.get("data")  # of the contents: many data sets are called "folder"
    if known is not None and known != data.fingerprint(searched.dataset, data_dir=searched.data_dir):
        return
    identities = searched.split("train").identities
    if max(count, people.holdout) > len(labels.images_by_identity(identities)):
        return  # the data are others, or the flag is wrong, which is said where the people are taken
    now, before = (
        labels.held_out(identities, number, which=how)
        for number, how in ((people.holdout, people.holdout_from), (count, which))
    )
    seen = int(np.sum(~np.isin(now, before)))
    if seen:
        raise ValueError(
            f"holdout={people.holdout} with holdout_from={people.holdout_from} are people of {searched.dataset} of "
            f"whom {seen} were in the training of --{argument}, which held out {count}"
            + (f": give --holdout={count} --holdout_from={which}" if count else ": give a network that held some out")
        )
