"""Settings of `benchmark_speed`: a group of flags for each part, and what --quick makes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data import binding
from data.binding import setting
from experiments.settings import networks, pictures, run
from experiments.settings.matching import Penalty

SETS = ("vgg_single", "vgg_multi", "osnet_single", "osnet_multi")
PARTS = ("coder", "identification", "network", "steps", "growth", "accelerator", "stages")
DEFAULT = PARTS[:-2]  # accelerator is for machines that have one, stages takes half an hour: asked for by name
DRAWN = ("network", "steps", "accelerator")  # parts that need no pictures
CHANNELS = 512  # of the maps that growth draws
IMAGE = "HEIGHTxWIDTH/STRIDE such as 320x120/32, stride 16 or 32"


class Case(NamedTuple):
    """Image height and width in pixels, output stride, images per batch."""

    height: int
    width: int
    output_stride: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width}_stride{self.output_stride}_batch{self.batch}"


def sides(text: str) -> tuple[int, int]:
    """Height and width of HEIGHTxWIDTH; ValueError for anything else.

    Example:
      >>> sides("10x3")
      (10, 3)
    """
    height, width = (int(side) for side in text.split("x"))
    if min(height, width) < 1:
        raise ValueError(f"height and width must be positive, got {text!r}")
    return height, width


def image(text: str) -> tuple[int, int, int]:
    """Height, width and output stride of HEIGHTxWIDTH/STRIDE; ValueError for anything else.

    Example:
      >>> image("160x64/16")
      (160, 64, 16)
    """
    size, stride = text.split("/")
    if int(stride) not in (16, 32) or min(sides(size)) < int(stride):
        raise ValueError(f"an image has at least one position, of 16 or 32 pixels, got {text!r}")
    return *sides(size), int(stride)


def several(default: tuple[Any, ...], about: str, wanted: str, check: Callable[[tuple[Any, ...]], bool]) -> Any:
    """A field of one value or more."""
    return setting(default, about, wanted=wanted, check=lambda values: bool(values) and check(values))


def _counts(default: tuple[int, ...], about: str) -> Any:
    return several(default, about, "whole numbers of at least 1 such as 1,3", lambda values: min(values) > 0)


def _like(default: tuple[float, ...], about: str, names: str) -> Any:
    """A field of as many positive numbers as its default has."""
    wanted = f"{names} such as {','.join(map(str, default))}"
    return several(default, about, wanted, lambda values: len(values) == len(default) and min(values) > 0)


@dataclass(frozen=True)
class Timing:
    """Timing."""

    parts: tuple[str, ...] = several(
        DEFAULT,
        f"Of {', '.join(PARTS)}; accelerator and stages only where they are named.",
        f"one or several of {', '.join(PARTS)}",
        lambda values: {*values} <= {*PARTS},
    )
    rounds: int = setting(5, "Times that each contender is timed, in turns; at least 5 but for --quick.")
    quick: bool = setting(
        False, "Everything small and two rounds, to see that it works; flags given beside it stay as given."
    )


@dataclass(frozen=True)
class Maps:
    """Maps."""

    kept_maps: str | None = setting(
        None,
        "File (.npz) in which extracted maps are kept: a second run with the same flags reads them from it.",
        path=True,
    )
    vgg_width: float = setting(
        1.0,
        "Width of the VGG-16 with random weights: parts network and steps, and all maps where --weights is missing.",
    )


@dataclass(frozen=True)
class Onnx:
    """Maps of an ONNX network."""

    onnx: str | None = setting(
        None, "The network: one input of images, (n, 3, H, W) or (n, H, W, 3); none: maps are stand-ins.", path=True
    )
    map_tensor: str | None = setting(None, "Name of the tensor that is its spatial map, (n, d, h, w) or (n, h, w, d).")
    mean: tuple[float, ...] = several(
        (0.485, 0.456, 0.406), "Mean of RGB / 255 that it subtracts.", "three numbers", lambda values: len(values) == 3
    )
    deviation: tuple[float, ...] = _like(
        (0.229, 0.224, 0.225), "Standard deviation by which it then divides.", "three positive numbers"
    )
    onnx_size: tuple[int, ...] = _like(
        (256, 128), "Height,width of the input of the --onnx network, in pixels.", "height,width"
    )
    stand_in_map: tuple[int, ...] = _like(
        (16, 8, 128),
        "Height,width,channels of the maps that stand in where --onnx is missing.",
        "height,width,channels",
    )

    def check(self) -> None:
        """Raises ValueError if the file and the name of its tensor are not both given, or there is no such file."""
        if bool(self.onnx) != bool(self.map_tensor):
            raise ValueError("onnx and map_tensor belong together: give both, or neither for stand-ins")
        if self.onnx and not Path(self.onnx).is_file():
            raise ValueError(f"onnx file {self.onnx!r} does not exist: give another, or none for stand-ins")


@dataclass(frozen=True)
class Coder:
    """Part coder."""

    probes: int = setting(60, "Probe maps.", low=1)
    gallery: int = setting(60, "Gallery maps; every probe is matched with each.", low=1)
    checked: int = setting(
        8,
        "The first so many probes x gallery maps are compared with a float64 oracle, and are all that XLA's coders are "
        "timed on.",
        low=1,
    )
    few: int = setting(
        3, "The first so many probes x gallery maps are all that scikit-learn, celer and skglm are timed on.", low=1
    )

    def check(self) -> None:
        """Raises ValueError if peers would be timed on pairs that the oracle does not solve."""
        if self.few > self.checked:
            raise ValueError(f"few must not exceed checked, which the oracle solves, got {self.few} and {self.checked}")


@dataclass(frozen=True)
class Identification:
    """Part identification."""

    people: int = setting(60, "People in the gallery.", low=1)
    people_shots: tuple[int, ...] = _counts((1, 3), "Gallery images per person; each number is timed.")
    identified: int = setting(5, "Probes per timing, one after another.", low=1)
    windowed: int = setting(2, "Gallery images that SWM is timed on; its time is multiplied.", low=1)


@dataclass(frozen=True)
class Network:
    """Part network."""

    network_sizes: tuple[str, ...] = several(
        ("320x120/32", "160x64/16"), f"Image sizes, {IMAGE}.", IMAGE, lambda values: all(map(image, values))
    )
    batches: tuple[int, ...] = _counts((4, 8), "Images per batch; each number is timed with each size.")

    @property
    def cases(self) -> list[Case]:
        """Every size with every batch."""
        return [Case(*image(size), batch) for size in self.network_sizes for batch in self.batches]


@dataclass(frozen=True)
class Steps:
    """Part steps."""

    step_size: str = setting("160x64/16", f"Image size, {IMAGE}.")
    step_batch: int = setting(32, "Images, or pairs of whole image and patch, per step.", low=1)

    @property
    def case(self) -> Case:
        """Size and batch; ValueError if the size is none."""
        try:
            return Case(*image(self.step_size), self.step_batch)
        except ValueError as error:
            raise ValueError(f"step_size must be {IMAGE}, got {self.step_size!r}") from error


@dataclass(frozen=True)
class Growth:
    """Part growth."""

    growth_sizes: tuple[int, ...] = _counts((60, 300, 1000, 5000, 20000), "Gallery sizes, each in a process.")
    growth_maps: tuple[str, ...] = several(
        ("10x3", "5x3", "10x6", "16x8", "20x10"),
        "HEIGHTxWIDTH of maps, for the growth with the blocks per image; gallery sizes use the first.",
        "HEIGHTxWIDTH in positions such as 10x3,16x8",
        lambda values: all(map(sides, values)),
    )
    growth_probes: int = setting(10, "Probes of each matching.", low=1)
    search_gallery: int = setting(5000, "Gallery images that are searched.", low=1)
    search_maps: str = setting(
        "real",
        "Search the data set's gallery, each image extracted (5,000 take a quarter of an hour; see --kept_maps), or "
        "copies with noise of a few. Data sets that have too few images are perturbed in any case.",
        choices=("real", "perturbed"),
    )
    search_k: int = setting(10, "Nearest images that a search names.", low=1)
    search_probes: int = setting(5, "Probes that search, one after another.", low=1)
    memory_probes: int = setting(1400, "Probes of the matching whose peak memory counts.", low=1)
    memory_gallery: int = setting(5332, "Gallery images of it.", low=1)

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(h, w, d) of the maps."""
        return [(*sides(text), CHANNELS) for text in self.growth_maps]


@dataclass(frozen=True)
class Accelerator:
    """Part accelerator."""

    device_sets: tuple[str, ...] = several(
        SETS,
        f"Of {', '.join(SETS)}.",
        f"one or several of {', '.join(SETS)}",
        lambda values: {*values} <= {*SETS},
    )
    device_probes: int = setting(64, "Probe maps that are matched on the device.", low=1)
    device_gallery: int = setting(
        512, "Gallery maps that they are matched with: enough for a GPU to be busy, too many for a CPU.", low=1
    )
    device_checked: int = setting(
        8, "So many probes x gallery maps, spread over all, are compared with a float64 oracle.", low=1
    )
    device_batch: int = setting(128, "Images of --step_size per batch of the network.", low=1)
    device_bytes: int = setting(1 << 29, "max_bytes of match.distances: memory ceiling of its tiles.", low=1)


@dataclass(frozen=True)
class Stages:
    """Part stages."""

    stage_gallery: int = setting(
        10_000, "Gallery images, of the gallery split and then of the training split; all, if there are fewer.", low=2
    )
    stage_probes: int = setting(100, "Probes, evenly spread over their split.", low=1)
    stage_scales: tuple[int, ...] = _counts((1, 2, 3), "Sides of the windows of the exact answer.")
    stage_bytes: int = setting(
        4 << 30, "max_bytes of the exact searches: ten times as fast where the Gram matrices of all maps fit.", low=1
    )
    stage_near: int = setting(128, "Entries nearest by MaxSim among which half precision is looked at.", low=2)


@dataclass(frozen=True)
class Settings:
    """All of them, with the shared ones that decide the maps."""

    place: run.Place = run.Place()
    timing: Timing = Timing()
    data: pictures.DataSet = pictures.DataSet()
    probes: pictures.Shown = pictures.Shown()
    seed: run.Seed = run.Seed()
    network: networks.Network = networks.Network()
    maps: Maps = Maps()
    onnx: Onnx = Onnx()
    matching: Penalty = Penalty()
    part_coder: Coder = Coder()
    part_identification: Identification = Identification()
    part_network: Network = Network()
    part_steps: Steps = Steps()
    part_growth: Growth = Growth()
    part_accelerator: Accelerator = Accelerator()
    part_stages: Stages = Stages()
    given: frozenset[str] = frozenset()

    @property
    def pictured(self) -> bool:
        """Whether a part needs pictures, and so a data set."""
        return not {*self.timing.parts} <= {*DRAWN}

    @property
    def partial(self) -> str:
        """Whether probes are cropped, "crop" or "none": the flag, or as the data set is evaluated."""
        return pictures.Searched(self.data, pictures.Probes(partial=self.probes.partial)).partial

    def check(self) -> None:
        """Raises ValueError for flags that make no sense, or no sense together."""
        if self.timing.rounds < (1 if self.timing.quick else 5):
            raise ValueError(
                f"rounds must be at least 5 for a median that means something, got {self.timing.rounds}; or --quick"
            )
        for group in (self.matching, self.onnx, self.part_coder):
            group.check()
        _ = self.part_steps.case
        if self.pictured:
            self.data.split("probe")
        elif "accelerator" in self.timing.parts and self.maps.kept_maps and not Path(self.maps.kept_maps).is_file():
            raise ValueError(
                f"kept_maps {self.maps.kept_maps} does not exist, and no part makes it: give a file, or none for "
                "stand-ins"
            )
        if not self.network.weights:
            self.network.refuse_without_weights()


# What --quick does to flags that are not given.
QUICK: dict[str, Any] = {
    **{"rounds": 2, "vgg_width": 1 / 16, "size": (160, 96), "probes": 4, "gallery": 5, "checked": 3, "few": 2},
    **{"people": 4, "identified": 2, "network_sizes": ("64x32/16",), "batches": (2,), "growth_sizes": (5, 20)},
    **{"step_size": "64x32/16", "step_batch": 2, "stand_in_map": (5, 3, 16), "growth_maps": ("3x2", "2x2")},
    **{"growth_probes": 2, "search_gallery": 80, "search_k": 3, "search_probes": 2},
    **{"memory_probes": 4, "memory_gallery": 30},
    **{"device_sets": ("vgg_single", "osnet_multi"), "device_probes": 4, "device_gallery": 6, "device_checked": 3},
    **{"device_batch": 2, "stage_gallery": 8, "stage_probes": 2, "stage_near": 4},
    **{"crop_height": (0.6, 0.6), "crop_width": (1.0, 1.0)},  # one shape: less to compile
}


def reduced(settings: Settings) -> Settings:
    """The settings of --quick where it is given, else the same."""
    if not settings.timing.quick:
        return settings
    return binding.replaced(settings, **{name: value for name, value in QUICK.items() if name not in settings.given})
