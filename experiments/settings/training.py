"""How networks are trained: what they see, what is frozen, how parameters are updated, what is watched."""

from dataclasses import dataclass

from data.binding import setting
from dsr_jax.solvers import certificate
from experiments.settings.networks import Fresh, Network
from experiments.settings.pictures import DataSet, HeldOut, Probes, Rules, Searched
from experiments.settings.run import Hosts, Place, Seeds


@dataclass(frozen=True)
class Augmentation:
    """Augmentation."""

    mirror: float = setting(0.5, "Probability of a left-right flip.")
    shift: float = setting(0.05, "Largest shift as a share of each side.")
    colour: float = setting(0.2, "Largest relative change of brightness, contrast, saturation.")
    erase: float = setting(0.5, "Probability of erasing a rectangle.")
    mix_styles: float = setting(
        0.0,
        "Probability that a view takes part of the mean and spread of another's channels, in what the frozen blocks "
        "make of them (MixStyle); needs --frozen_views.",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class Batches:
    """Batches."""

    images_per_identity: int = setting(
        0,
        "A batch holds so many images (or pairs) of each of its identities, which come equally often; 0: it holds the "
        "next ones of a shuffled epoch.",
        low=0,
    )
    similar_people: int = setting(
        0,
        "The people of a batch are one and others drawn from so many who look most like them to the network that "
        "training starts from; 0: anybody. Needs --images_per_identity.",
        low=0,
    )
    image_memory: int = setting(
        1000,
        "Megabytes of decoded images held; others are decoded at each use. As many again of what frozen blocks make "
        "of the pictures of --validate_every.",
        low=0,
        free=True,
    )
    reading_threads: int = setting(
        2, "Threads that make batches ahead; 0: each is made when it is needed.", low=0, free=True
    )

    def check(self) -> None:
        """Raises ValueError for similar people in batches that are not made by people."""
        if self.similar_people and not self.images_per_identity:
            raise ValueError(
                f"similar_people={self.similar_people} says who shares a batch: give --images_per_identity of at "
                "least 1 with it"
            )


@dataclass(frozen=True)
class Frozen:
    """Frozen blocks."""

    frozen_blocks: int = setting(0, "Blocks 1 to this number of the network's five are not trained.", low=0, high=4)
    frozen_views: int = setting(
        0,
        "Views of each kind per image whose frozen-block outputs are kept on disk; 0: draw views at every step and "
        "run the frozen blocks again.",
        low=0,
    )
    frozen_cache: str | None = setting(
        None, "Folder of those outputs; default: inside the workdir. Runs may share it.", path=True, free=True
    )

    def check(self) -> None:
        """Raises ValueError for views without frozen blocks."""
        if self.frozen_views and not self.frozen_blocks:
            raise ValueError("frozen_views keeps outputs of frozen blocks: give --frozen_blocks of at least 1 with it")


@dataclass(frozen=True)
class Update:
    """Update of the parameters."""

    schedule: str = setting(
        "cosine", "How the learning rate goes after the warm-up.", choices=("constant", "step", "cosine")
    )
    warm_up: float = setting(0.05, "Share of the updates over which the learning rate rises from 0.", low=0.0)
    milestones: tuple[float, ...] = setting(
        (0.5, 0.75),
        "Shares of the updates after which --schedule=step lowers the rate.",
        wanted="rising shares such as 0.5,0.75",
        check=lambda shares: all(0 < share < 1 for share in shares) and list(shares) == sorted(set(shares)),
    )
    milestone_factor: float = setting(0.1, "By what --schedule=step multiplies the rate there.", low=0.0)
    clip: float = setting(1.0, "Largest norm of the whole gradient; 0: not clipped.", low=0.0)
    accumulate: int = setting(1, "Batches whose mean gradient makes one update; steps still count batches.", low=1)
    weight_decay: float = setting(5e-4, "Weight decay, of AdamW's decoupled kind or added to SGD's gradient.")
    momentum: float = setting(0.9, "Momentum of SGD.", low=0.0, high=1.0)
    unfold: int = setting(
        0,
        "Batch normalisations that a file has folded into an OSNet's convolutions are put back, measured on so many "
        "training images, and trained; 0: the network is trained as it is.",
        low=0,
    )

    def check(self) -> None:
        """Raises ValueError for shares that do not go together."""
        if not self.warm_up < 1:
            raise ValueError(f"warm_up is a share of the updates, in [0, 1), got {self.warm_up}")
        if self.schedule == "step" and self.milestones and self.warm_up >= self.milestones[0]:
            shares = ",".join(map(str, self.milestones))
            raise ValueError(f"warm_up={self.warm_up} reaches beyond the first of --milestones={shares}")


@dataclass(frozen=True)
class Watch:
    """Checkpoints and validation."""

    checkpoint_every: int = setting(200, "Steps between checkpoints.", low=1, free=True)
    plot_every: int = setting(
        60, "Seconds after which report/training.html is written again; 0: it is not written.", low=0, free=True
    )
    loss_limit: float = setting(1e3, "A loss beyond it, up or down, has diverged: training stops.", low=0.0)
    validate_every: int = setting(
        0,
        "Steps between validations on the --holdout identities; the network with the highest mAP is kept. 0: none, "
        "and the last network is kept.",
        low=0,
    )
    patience: int = setting(0, "Validations in a row without a higher mAP after which training stops; 0: never.", low=0)

    def check(self) -> None:
        """Raises ValueError for patience without validations."""
        if self.patience and not self.validate_every:
            raise ValueError(f"patience={self.patience} counts validations: give --validate_every=STEPS with it")


@dataclass(frozen=True)
class Identification:
    """Identification training (Fig. 5a)."""

    pretrain_steps: int = setting(1000, "Steps.", low=0)
    pretrain_batch_size: int = setting(32, "Views per step.", low=1)
    pretrain_rate: float = setting(3e-4, "Learning rate.", low=0.0)
    pretrain_optimizer: str = setting("adam", "SGD with momentum, or AdamW.", choices=("sgd", "adam"))
    pretrain_head_factor: float = setting(10.0, "Learning rate of the classifier relative to the network's.")
    smoothing: float = setting(0.1, "Label smoothing of every identification loss.", low=0.0, high=1.0)


@dataclass(frozen=True)
class Views:
    """Views of identification training."""

    patch_share: float = setting(0.0, "Share of the views that are patches; the paper pre-trains on whole images: 0.")
    buckets: int = setting(
        0, "Training images keep their own size, padded to so many shapes; 0: all are brought to --size.", low=0
    )


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning with DSR (Fig. 5b, Algorithm 2), or with MaxSim in its place."""

    positives: int = setting(3000, "Positive pairs drawn (Sec. 3.3).", low=0)
    negatives: int = setting(3000, "Negative pairs drawn.", low=0)
    steps: int = setting(375, "Steps of fine-tuning; 375 of 16 pairs see 6,000 pairs once.", low=0)
    batch_size: int = setting(16, "Pairs per step.", low=1)
    optimizer: str = setting("sgd", "SGD with momentum (the paper) or AdamW.", choices=("sgd", "adam"))
    learning_rate: float = setting(1e-2, "Learning rate of fine-tuning.", low=0.0)
    distance: str = setting(
        "dsr",
        "What the verification loss compares: the reconstruction distance, or MaxSim's (no codes; --l1 and --gradient "
        "have no effect on it, and validation is by maxsim_single instead of dsr_single).",
        choices=("dsr", "maxsim"),
    )
    verification: str = setting(
        "signed",
        "Eq. 5 on each pair; or every patch of the batch against every whole image of it, by softmax (use with "
        "--negatives=0).",
        choices=("signed", "ranked"),
    )
    mining: str = setting(
        "none",
        "Which pairs count: those of --verification, or of every patch against every whole image of the batch each "
        "patch's hardest pair of one person and of two (more distances per step with --verification=signed).",
        choices=("none", "batch_hard"),
    )
    verification_weight: float = setting(1.0, "Weight of the verification loss; 0 is the control.", low=0.0)
    id_loss_weight: float = setting(0.0, "Weight of the identification loss kept beside it.", low=0.0)
    id_patches: bool = setting(False, "Whether the identification loss sees the patches as well.")
    l1: float = setting(0.4, "Weight of the L1 penalty, the paper's beta, in training and in the comparison.", low=0.0)
    train_scales: tuple[int, ...] = setting(
        (1,),
        "Block scales of both sides in the verification loss.",
        wanted="whole numbers of at least 1 such as 1,3",
        check=lambda scales: bool(scales) and min(scales) > 0,
    )
    gradient: str = setting("envelope", "Eq. 7, or the exact gradient of Eq. 4.", choices=("envelope", "implicit"))
    ceiling: float = setting(1.0, "Negative pairs are pushed apart up to this distance; 1: without limit.")
    temperature: float = setting(0.1, "Softmax temperature of --verification=ranked, in distance.")
    evaluate: bool = setting(True, "Match probes and gallery before and after, write table and report.")

    def check(self) -> None:
        """Raises ValueError for settings from which nothing could be learnt."""
        certificate.check_l1(self.l1)
        if self.distance == "maxsim" and self.gradient != "envelope":
            raise ValueError(f"gradient={self.gradient} is of codes, which --distance=maxsim has not: leave it out")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")
        if not self.verification_weight and not self.id_loss_weight:
            raise ValueError(
                "verification_weight and id_loss_weight are both 0: nothing would be learnt, give one of them"
            )
        if self.verification == "ranked" and self.negatives:
            raise ValueError("verification=ranked finds its negatives in the batch: give --negatives=0 with it")


@dataclass(frozen=True)
class Training:
    """Settings of every training; pre-training and fine-tuning have more."""

    place: Place = Place()
    hosts: Hosts = Hosts()
    data: DataSet = DataSet()
    held_out: HeldOut = HeldOut()
    network: Network = Network()
    fresh: Fresh = Fresh()
    seeds: Seeds = Seeds()
    augmentation: Augmentation = Augmentation()
    batches: Batches = Batches()
    frozen: Frozen = Frozen()
    update: Update = Update()
    watch: Watch = Watch()
    identification: Identification = Identification()
    probes: Rules = Rules()
    given: frozenset[str] = frozenset()

    @property
    def validated_by(self) -> str:
        """The method of `--validate_every`."""
        return "dsr_single"

    @property
    def searched(self) -> Searched:
        """Probes and gallery among the test identities; `Searched.held_out` has those that validation searches."""
        probes = Probes(camera_rule=self.probes.camera_rule, partial=self.probes.partial)
        return Searched(self.data, probes, people=self.held_out, given=self.given)

    def check(self) -> None:
        """Raises ValueError for settings that make no sense, before anything is read."""
        self.held_out.check(self.given)
        self.frozen.check()
        self.batches.check()
        if self.augmentation.mix_styles and not self.frozen.frozen_views:
            raise ValueError(
                f"mix_styles={self.augmentation.mix_styles} mixes what frozen blocks make of pictures: give "
                "--frozen_blocks and --frozen_views with it"
            )
        self.update.check()
        self.watch.check()
        if self.watch.validate_every:
            self.searched.check()
