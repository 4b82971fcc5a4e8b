"""Configurations that earlier versions wrote, in the terms of today.

Lists were text; `l1` of an evaluation was `match_l1`; every runner had the flags of the modules that it shared, also
those without effect on it; held-out people were the last ones. What a configuration says of a setting that the runner
no longer has counts where it is not the default, because then it may have had an effect.
"""

import dataclasses
import json
from typing import Any

from experiments.settings import matching, networks, pictures, run, training

RENAMED = {"match_l1": "l1"}
# Flags that are gone, and what says the same.
REPLACED = {
    "sampling": "--images_per_identity=K alone makes balanced batches, and without it batches are shuffled: leave "
    "--sampling out, and give --images_per_identity=4, the default until now, if it is missing"
}
GROUPS = (
    *(run.Seed, pictures.HeldOut, pictures.Probes, pictures.Chosen, networks.Network, matching.Comparison),
    *(matching.Variants, matching.Page, matching.Matching, training.Identification, training.Views),
    *(training.Update, training.Watch),
)
SHOWN = frozenset({"ranked_lists", "reconstructions", "paper"})  # they change pages, and no number
# Settings that a runner may have had and has no longer, at the values that had no effect.
GONE: dict[str, Any] = {"maps": None, "vector_tensor": None} | json.loads(
    json.dumps({item.name: item.default for group in GROUPS for item in dataclasses.fields(group)})
)


def translated(before: dict[str, Any], now: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A configuration of before as it would be written now.

    Args:
      before: as `config.json` or a checkpoint has it.
      now: this run's, as JSON.
      defaults: of today's settings; an earlier configuration that lacks one was computed with it.

    Example:
      >>> translated({"size": ["64", "32"], "match_l1": 0.4, "paper": "none"}, {"size": [64, 32], "l1": 0.4}, {})
      {'size': [64, 32], 'l1': 0.4}
    """
    found: dict[str, Any] = {}
    if before.get("match_l1") == before.get("l1") or before.get("evaluate") is False:  # one penalty, or none to match
        before = {name: value for name, value in before.items() if name != "match_l1" or "l1" not in before}
    if "sampling" in before and "images_per_identity" in now:  # one flag, where shuffled batches have 0
        images = 0 if before["sampling"] == "shuffled" else before.get("images_per_identity")
        before = {name: value for name, value in before.items() if name != "sampling"} | {"images_per_identity": images}
    before = completed(before)
    for name, value in before.items():
        today = RENAMED[name] if name not in now and RENAMED.get(name) in now.keys() - before.keys() else name
        if today in now:
            found[today] = _like(value, now[today], default=defaults.get(today))
        elif name not in SHOWN and (name not in GONE or _like(value, GONE[name]) != GONE[name]):
            found[name] = value
    return found | {name: value for name, value in defaults.items() if name in now and name not in found}


def completed(before: dict[str, Any]) -> dict[str, Any]:
    """A configuration with what went without saying when it was written.

    Example:
      >>> completed({"holdout": 2}), completed({"holdout": 0})
      ({'holdout': 2, 'holdout_from': 'last'}, {'holdout': 0})
    """
    if before.get("holdout") and "holdout_from" not in before:  # they were the last ones
        return before | {"holdout_from": "last"}
    return before


def _like(before: Any, now: Any, *, default: Any = ...) -> Any:
    """A value of before in the type of today's, where it says the same; 1, the width by default, was written."""
    if default is None and (before, now) in ((1.0, None), (None, 1.0)):
        return now
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [_like(old, new) for old, new in zip(before, now, strict=True)]
    if isinstance(before, str) and isinstance(now, int | float):
        try:
            return type(now)(before)
        except ValueError:
            return before
    return before
