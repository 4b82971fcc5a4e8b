"""Average of a network before and after its training, chosen on held-out people.

    python -m experiments.blend --dataset=cuhk03 --data_dir=D --holdout=100 --weights=BEFORE --trained=RUN --workdir=OUT

Training on one data set forgets what other people need. The average of the weights before and after it often keeps both
(`dsr_jax.networks.average`). Every share of the trained network is validated on the --holdout training people as
`--validate_every` of the training does it (cropped pictures, single-shot), and the one with the highest mAP is written
to `OUT/network.safetensors`. Held-out people are of the same data set: what an average keeps of others they cannot say.
They are to be those of the training: --holdout and --holdout_from as it had them. Whoever needs the network elsewhere
gives one share, such as --shares=0.5, which is then validated and written.
"""

from dataclasses import dataclass
from typing import Any

from data.binding import setting
from dsr_jax import networks, report, weights
from experiments import run
from experiments.evaluation import unseen
from experiments.settings import training
from experiments.settings.networks import Network
from experiments.settings.pictures import DataSet, HeldOut, Rules
from experiments.settings.run import Place, Seed, Seeds
from experiments.training.start import finished
from experiments.training.validation import Validated, Validation
from experiments.workdir import opened


@dataclass(frozen=True)
class Blend:
    """Average."""

    trained: str | None = setting(
        None, "The network after the training of --weights: a file, or the workdir of the run.", path=True
    )
    shares: tuple[float, ...] = setting(
        (0.0, 0.25, 0.5, 0.75, 1.0),
        "Shares of the trained network.",
        wanted="numbers from 0 to 1 such as 0.25,0.5",
        check=lambda shares: bool(shares) and all(0 <= share <= 1 for share in shares),
    )
    distance: str = setting("dsr", "The distance of the validation, single-scale.", choices=("dsr", "maxsim"))


@dataclass(frozen=True)
class Settings:
    """Settings of this runner."""

    place: Place = Place()
    data: DataSet = DataSet()
    held_out: HeldOut = HeldOut()
    network: Network = Network()
    seed: Seed = Seed()
    probes: Rules = Rules()
    blend: Blend = Blend()
    given: frozenset[str] = frozenset()

    @property
    def validation(self) -> "Searching":
        """As the validation of a training."""
        shared: dict[str, Any] = {name: getattr(self, name) for name in ("place", "data", "held_out", "network")}
        return Searching(
            **shared, seeds=Seeds(seed=self.seed.seed), probes=self.probes, given=self.given, blend=self.blend
        )


@dataclass(frozen=True)
class Searching(training.Training):
    """A training's settings, of which its validation is used."""

    blend: Blend = Blend()

    @property
    def validated_by(self) -> str:
        """The method."""
        return f"{self.blend.distance}_single"


def main(settings: Settings) -> None:
    """The runner."""
    how = settings.blend
    if not how.trained:
        raise ValueError("trained is missing: give --trained=RUN, the network that the training of --weights gave")
    if not settings.held_out.holdout:
        raise ValueError("holdout is 0: give --holdout=N, the training people that neither network was trained on")
    workdir = opened(settings, "blend", partial=settings.validation.searched.partial)
    if finished(workdir):
        return
    before, after = settings.network.read(), weights.read(how.trained)
    size, stride = settings.network.of_card(after.card)
    for name in ("preprocessing", "output_stride"):
        known = getattr(before.card, name), getattr(after.card, name)
        if None not in known and known[0] != known[1]:
            raise ValueError(
                f"{name} of --weights is {known[0]!r}, of --trained {known[1]!r}: they do not come from each other"
            )
    for argument, card in (("weights", before.card), ("trained", after.card)):
        unseen.check(card, settings.data, settings.held_out, argument=argument)
    networks.average(before.params, after.params, 0.0)  # its errors come before anything is written
    workdir.claim()
    workdir.begin()
    validate = Validation(settings.validation, size, convention=after.card.preprocessing, output_stride=stride)
    found: dict[float, Validated] = {}
    for number, share in enumerate(sorted({*how.shares})):
        found[share] = validate(networks.average(before.params, after.params, share), number)
        print(
            f"share {share:g}: rank-1 {found[share].rank1:.1f}, mAP {found[share].mean_average_precision:.1f}",
            flush=True,
        )
    best = max(found, key=lambda share: found[share].mean_average_precision)
    rows = [
        (f"{share:g}{' *' if share == best else ''}", one.rank1, one.mean_average_precision)
        for share, one in found.items()
    ]
    print(report.text_table(rows, ["share of the trained (* written)", "rank-1", "mAP"]))
    extra = {**after.card.extra, **unseen.earlier(before.card, after.card), "share_of_the_trained": best}
    card = weights.Card(after.card.architecture, after.card.width, stride, after.card.preprocessing, extra=extra)
    weights.save(workdir.path / weights.WORKDIR_FILE, networks.average(before.params, after.params, best), card)
    figures = {
        f"share={share:g}/{name}": value
        for share, one in found.items()
        for name, value in (("rank1", one.rank1), ("mAP", one.mean_average_precision))
    }
    workdir.write_metrics({"share": best, **figures})
    print(f"network: {workdir.path / weights.WORKDIR_FILE}")


if __name__ == "__main__":
    run.main(main, Settings)
