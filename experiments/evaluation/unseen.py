"""Held-out people of whom a network must not have seen a picture: its card says who was held out of its training."""

from collections.abc import Mapping
from typing import Any

import numpy as np

import data
from dsr_jax import weights
from dsr_jax.evaluation import labels
from experiments.settings import former
from experiments.settings.pictures import DataSet, HeldOut

MEMBERS = "members"  # on the card of an ensemble: what the cards of its members say
EARLIER = "earlier"  # other trainings than the last one
KNOWN = ("data", "holdout", "holdout_from")  # flags of a training that say whom it saw


def check(card: weights.Card, searched: DataSet, people: HeldOut, *, argument: str = "weights") -> None:
    """Checks that none of the held-out people was trained on, as far as the card of a network says.

    A network that was trained here says of all its trainings on which data set they were, and how many of its people
    were held out, and which; one that was trained elsewhere, or on other data, says nothing that could be checked. Of
    an ensemble every member is checked.

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
    """What a card says of the trainings of its network, the last one first; of an ensemble, of each member's."""
    return [one for extra in members(card) for one in (extra, *extra.get(EARLIER, ()))]


def members(card: weights.Card) -> list[dict[str, Any]]:
    """What a card says beside the network; of an ensemble, of each member."""
    found = card.extra.get(MEMBERS)
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else [card.extra]


def earlier(*cards: weights.Card) -> dict[str, Any]:
    """What a new card says of the trainings that the networks of other cards, from which it comes, have had."""
    found: list[dict[str, Any]] = []
    for extra in (one for card in cards for one in trainings(card)):
        flags = former.completed(extra.get("flags", {}))
        one = {"dataset": extra.get("dataset"), "flags": {name: flags[name] for name in KNOWN if name in flags}}
        if one["dataset"] and one not in found:
            found.append(one)
    return {EARLIER: found} if found else {}


def _check(extra: Mapping[str, Any], searched: DataSet, people: HeldOut, argument: str) -> None:
    """Checks what a card says of one training."""
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
