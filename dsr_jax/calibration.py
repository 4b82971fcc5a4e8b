"""Calibration: from a distance to a probability, and to the decision that nobody in a gallery is the person.

    fitted = calibration.fit(distances, same)      # (P, G) distances of labelled people, which pairs are of one person
    fitted.probability(0.21)                       # that a pair at this distance is of one person
    fitted.first_probability(0.21)                 # that the nearest entry of a gallery is the person
    fitted.threshold(false_positive_rate=0.01)     # above it the nearest entry of a gallery is nobody
    gallery = match.Gallery.build(maps, calibration=fitted)

These answer different questions. The probability is of **a pair**: among pairs as those that were fitted, how many at
this distance are of one person? It depends on how many pairs of two people stand against one of one person, so on the
gallery's size: for a gallery of n entries the odds are brought to as many right entries per probe as the fit had, among
n (Bayes; the densities of the distances stay). The threshold is for **a whole gallery** (open-set identification): the
smallest of n distances to strangers falls as n grows, so it is fitted on just that, the smallest distance of every
probe to the entries of other people. A larger gallery counts as several independent ones, which is never too lenient;
a smaller one has a lower rate than asked for. The nearest entry of a gallery is no pair like others, either: some
probes are far from everybody, and a distance that would say little of a pair says more of the nearest of many. That it
is the right one has a probability of its own (`Calibration.first_probability`), in a gallery of the fit's size.

A calibration belongs to one network and one distance (`Calibration.check`), and to people and cameras as those that it
was fitted on: on another data set it may be wrong. `fit` needs scikit-learn (the extra `calibration`); using, saving
and loading do not.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dsr_jax.evaluation import distance_settings, falling_curves, labelled_pairs, nearest_strangers
from dsr_jax.evaluation.distance_settings import settings
from dsr_jax.formats import atomic

__all__ = ["METHODS", "Calibration", "fit", "from_text", "load", "settings"]

METHODS = falling_curves.METHODS
EVEN = 0.5  # the largest prior of a pair: of a gallery of one entry nothing is known before it is compared
VERSION = 2  # of the text


@dataclass(frozen=True, eq=False)
class Calibration:
    """A fitted calibration, see `fit`.

    Attributes:
      method: "isotonic" or "logistic".
      curve: from distances to probabilities, see `falling_curves`.
      pairs: how many pairs of one person and of two people it was fitted on.
      searches: how many searches they are of, a probe in one gallery each; 0: not known, there is no threshold.
      probes: of how many different probes the smallest distance to a stranger is known.
      entries: how many strangers each was compared with: the size of the gallery that thresholds are for.
      smallest: (2, n) such smallest distances, ascending, and the share of probes up to each.
      first: from the distances of the nearest entries to the probability that they are right, as ``curve``.
      fitted_on: network, distance and settings that the distances are of, by name; see `settings`.
    """

    method: str
    curve: NDArray[np.float64]
    pairs: tuple[int, int]
    searches: int = 0
    probes: int = 0
    entries: int = 0
    smallest: NDArray[np.float64] = field(default_factory=lambda: np.empty((2, 0)))
    first: NDArray[np.float64] = field(default_factory=lambda: np.empty((2, 0)))
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prior(self) -> float:
        """The share of pairs of one person among those that it was fitted on."""
        return self.pairs[0] / sum(self.pairs)

    def probability(self, distance: ArrayLike, *, entries: int | None = None) -> NDArray[np.float64]:
        """The probability that a pair at this distance is of one person.

        Args:
          distance: distances of any shape.
          entries: how many entries the gallery has, among which there are as many right ones as in the fit; default:
            the share of right pairs is that of the fit, `prior`.

        Returns:
          Probabilities in [0, 1] of the same shape; the larger the distance, the smaller, or equal.

        Raises:
          ValueError: for ``entries`` below 1, or of a calibration that was fitted on pairs without their probes.

        Example:
          >>> from dsr_jax import calibration
          >>> fitted = calibration.fit([[0.1, 0.4, 0.5], [0.5, 0.2, 0.4]], [[True, False, False], [False, True, False]])
          >>> fitted.probability([0.1, 0.45]).tolist(), fitted.probability(0.15, entries=1000).tolist()
          ([1.0, 0.0], 1.0)
        """
        values = np.asarray(distance, np.float64)
        found = falling_curves.at(self.curve, values, method=self.method)
        if entries is None:
            return found
        self._check_probes("entries")
        _check_entries(entries)
        prior = min(EVEN, self.pairs[0] / self.searches / entries)
        right, wrong = found * (prior / self.prior), (1 - found) * ((1 - prior) / (1 - self.prior))
        return np.asarray(right / (right + wrong))

    def first_probability(self, distance: ArrayLike) -> NDArray[np.float64]:
        """The probability that the nearest entry of a gallery, at this distance, is the probe's person.

        It holds for galleries of about the fit's size that hold the person as often as there; of a larger one, or of
        strangers, it is too high.

        Args:
          distance: distances of nearest entries, of any shape.

        Returns:
          Probabilities in [0, 1] of the same shape; the larger the distance, the smaller, or equal.

        Raises:
          ValueError: of a fit without probes.

        Example:
          >>> from dsr_jax import calibration
          >>> fitted = calibration.fit([[0.1, 0.4, 0.5], [0.5, 0.3, 0.2]], [[True, False, False], [False, True, False]])
          >>> fitted.first_probability([0.1, 0.2]).tolist(), fitted.probability(0.3).round(2).tolist()
          ([1.0, 0.0], 0.5)
        """
        self._check_probes("first_probability")
        return falling_curves.at(self.first, np.asarray(distance, np.float64), method=self.method)

    def threshold(self, false_positive_rate: float = 0.01, *, entries: int | None = None) -> float:
        """The distance above which the nearest entry of a gallery is nobody.

        Args:
          false_positive_rate: of the probes of people who are not in the gallery, the share whose nearest entry is at
            or below the threshold all the same.
          entries: how many entries the gallery has; default: as many as in the fit. Of a larger gallery the rate is at
            most the one asked for if its people are like those of the fit; of a smaller one it is lower.

        Returns:
          The distance.

        Raises:
          ValueError: for a rate that the fit's probes are too few for, and of a fit without probes.

        Example:
          >>> import numpy as np
          >>> from dsr_jax import calibration
          >>> distances = np.linspace(0.1, 0.9, 400).reshape(20, 20) - 0.1 * np.eye(20)
          >>> fitted = calibration.fit(distances, np.eye(20, dtype=bool))
          >>> round(fitted.threshold(0.05), 3), round(fitted.threshold(0.10), 3)
          (0.102, 0.14)
        """
        self._check_probes("threshold")
        number = hasattr(false_positive_rate, "__float__") and not np.ndim(false_positive_rate)
        if not number or not 0 < float(false_positive_rate) < 1:
            raise ValueError(f"false_positive_rate must be in (0, 1), got {false_positive_rate!r}; 0.01 is usual")
        rate = float(false_positive_rate)
        if entries is not None:
            _check_entries(entries)
            # The gallery as entries / self.entries galleries; where probes differ, the rate of all is below that.
            rate = 1 - (1 - rate) ** min(1.0, self.entries / entries)
        if rate * self.probes < 1 - 1e-9:
            beside = f" in a gallery of {entries} entries, {rate:.2g} in one of {self.entries}" * (entries is not None)
            raise ValueError(
                f"false_positive_rate={false_positive_rate:g}{beside} needs {int(np.ceil(1 / rate))} probes, it was "
                f"fitted on {self.probes}: ask for a larger rate, or fit on more people"
            )
        distances, shares = self.smallest
        last = int(np.searchsorted(shares, rate * (1 + 1e-9), side="right")) - 1
        return float(distances[last] if last >= 0 else np.nextafter(distances[0], -np.inf))

    def check(self, **asked: Any) -> None:
        """Compares what it is to be used for with what it was fitted on, as far as both are known.

        Numbers are compared but for rounding, scales in any order.

        Args:
          **asked: names of `settings`, an evaluation's "network", "preprocessing", "output_stride" and "size", and
            whatever else ``fitted_on`` has; None: unknown.

        Raises:
          ValueError: where they differ; it says what it was fitted on and what is asked for. And for other names.

        Example:
          >>> from dsr_jax import calibration
          >>> fitted = calibration.fit([0.1, 0.2], [True, False], fitted_on={"network": "osnet", "l1": 0.4})
          >>> fitted.check(network="osnet", scales=(1, 2, 3))
          >>> fitted.check(l1=0.3)
          Traceback (most recent call last):
          ValueError: calibration belongs to l1=0.4 and is asked for l1=0.3: ...
        """
        if unknown := [name for name in asked if name not in distance_settings.NAMES and name not in self.fitted_on]:
            names = ", ".join(dict.fromkeys((*distance_settings.NAMES, *self.fitted_on)))
            raise ValueError(f"{', '.join(unknown)}: nothing of that name is known of a calibration, take of {names}")
        wanted, known = distance_settings.plain(asked), distance_settings.plain(self.fitted_on)
        if others := distance_settings.differing(known, wanted):
            belongs, now = (", ".join(f"{name}={of[name]!r}" for name in others) for of in (known, wanted))
            raise ValueError(
                f"calibration belongs to {belongs} and is asked for {now}: fit one on distances of that "
                "(calibration.fit), or compare as this one was fitted"
            )

    @property
    def text(self) -> str:
        """All of it as JSON, for `from_text`."""
        content = {"calibration": VERSION, "method": self.method, "curve": self.curve.tolist(), "pairs": self.pairs}
        content |= {"searches": self.searches, "probes": self.probes, "entries": self.entries}
        content |= {"smallest": self.smallest.tolist(), "first": self.first.tolist()}
        return json.dumps(content | {"fitted_on": distance_settings.plain(self.fitted_on)})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a ``.json`` file, whole or not at all.

        Raises:
          OSError: if it cannot be written, naming file and reason.
        """
        atomic.write(path, self.text.encode())

    def _check_probes(self, argument: str) -> None:
        """Raises ValueError where it is not known which pairs are of one probe."""
        if not self.searches:
            raise ValueError(
                f"{argument} is about a probe against a gallery, and this calibration was fitted on pairs without "
                "their probes: fit it on (P, G) distances, or give calibration.fit probes="
            )


def fit(
    distances: ArrayLike,
    same: ArrayLike,
    *,
    method: str = "isotonic",
    probes: ArrayLike | None = None,
    draws: ArrayLike | None = None,
    entries: int | None = None,
    fitted_on: Mapping[str, Any] | None = None,
) -> Calibration:
    """Fits a calibration on labelled pairs.

    Args:
      distances: (P, G) of P probes to G gallery entries, or (n,) of pairs.
      same: of the same shape, whether the pair is of one person.
      method: "isotonic" (any falling curve; hundreds of pairs of one person) or "logistic" (two numbers; for few).
      probes: (n,) which probe each pair is of; default: the rows of (P, G), unknown of (n,).
      draws: (n,) in which draw of its gallery, where a probe searches several: each is a search of its own, and a rate
        that the probes are too few for stays unknown however often each is drawn. Default: one of all.
      entries: the size of the gallery that thresholds are for, at most the number of strangers of any probe; then the
        smallest distance among so many of them, drawn at random, counts (computed, not drawn). Default: all.
      fitted_on: what the distances are of, by name: "network" (`weights.digest`), and `settings`.

    Returns:
      The calibration.

    Raises:
      ValueError: for shapes that do not fit, NaN or infinity, pairs of one kind alone, distances that are no smaller
        for pairs of one person, and arguments out of their range.
      ModuleNotFoundError: without scikit-learn.

    References:
        Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates, KDD 2002
        (isotonic); Platt, Probabilistic Outputs for Support Vector Machines, 1999 (logistic).

    Example:
      >>> import numpy as np
      >>> from dsr_jax import calibration, match
      >>> maps = np.random.default_rng(0).random((8, 6, 3, 32)) ** 3
      >>> distances = match.distances([m[1:5] for m in maps], maps).distance
      >>> fitted = calibration.fit(distances, np.eye(8, dtype=bool), fitted_on=calibration.settings("auto"))
      >>> fitted.pairs, fitted.entries, fitted.fitted_on["scales"]
      ((8, 56), 7, (1, 2, 3))
    """
    about = distance_settings.checked("fitted_on", fitted_on)
    values, right, of = labelled_pairs.checked(distances, same, probes)
    counts = int(right.sum()), int((~right).sum())
    if of is None:
        for argument, value in (("entries", entries), ("draws", draws)):
            if value is not None:
                raise ValueError(f"{argument} is about a probe's gallery: give (P, G) distances, or probes=")
        return Calibration(method, falling_curves.fit(values, right, method=method), counts, fitted_on=about)
    search = labelled_pairs.searches(of, draws)
    found = nearest_strangers.smallest(values[~right], search[~right], entries=entries)
    nearest = labelled_pairs.nearest(values, right, search)
    return Calibration(
        method,
        falling_curves.fit(values, right, method=method),
        counts,
        searches=int(np.max(search)) + 1,
        probes=len(np.unique(of[~right])),
        entries=found.entries,
        smallest=found.curve,
        first=falling_curves.fit(values[nearest], right[nearest], method=method),
        fitted_on=about,
    )


def load(path: str | os.PathLike[str]) -> Calibration:
    """Reads what `Calibration.save` wrote.

    Raises:
      ValueError: if the file is not there, or no calibration.
    """
    try:
        return from_text(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(
            f"path must be a file that Calibration.save wrote, got {os.fspath(path)!r}: {error}"
        ) from error


def from_text(text: str) -> Calibration:
    """A calibration from its `Calibration.text`.

    Raises:
      ValueError: if it is none.
    """
    try:
        content = json.loads(text)
        if content["calibration"] != VERSION:
            raise ValueError(f"its version is {content['calibration']}, this library reads {VERSION}: fit it again")
        curve, smallest, first = (
            np.array(content[name], np.float64).reshape(2, -1) for name in ("curve", "smallest", "first")
        )
        same, different = (int(count) for count in content["pairs"])
        searches, probes, entries = (int(content[name]) for name in ("searches", "probes", "entries"))
        method, about = str(content["method"]), dict(content["fitted_on"])
        if min(same, different) < 1:
            raise ValueError(f"pairs must be of both kinds, got {content['pairs']}")
        falling_curves.check("curve", curve, method=method)
        if searches:
            if not 1 <= probes <= searches or entries < 1:
                raise ValueError(f"got {searches} searches, {probes} probes, {entries} entries")
            falling_curves.check("first", first, method=method)
            nearest_strangers.check("smallest", smallest)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"text is no calibration ({error}): take Calibration.text") from error
    numbers = {"searches": searches, "probes": probes, "entries": entries}
    return Calibration(method, curve, (same, different), **numbers, smallest=smallest, first=first, fitted_on=about)


def _check_entries(entries: Any) -> None:
    if not (isinstance(entries, int | np.integer) and entries >= 1):
        raise ValueError(f"entries must be a whole number >= 1, the size of the gallery, got {entries!r}")
