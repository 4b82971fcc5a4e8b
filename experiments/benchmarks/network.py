"""Part `network`: VGG-16 forward and one train step, ours compiled by XLA against torch, channels last, float32.

Both run the same random weights on the same images, torch with a thread per core; the step is value and gradient, in
all parameters, of the mean square of the maps. Their maps are compared: a fast wrong answer would be seen.
"""

import functools
import importlib
import importlib.util
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import fcn
from dsr_jax.cpu import cores
from experiments.benchmarks import outcome
from experiments.benchmarks.alternating import Contender, alternate, ratio
from experiments.benchmarks.outcome import Figures, Part, Table, number

HEADER = (
    *("case", "torch time / ours, forward", "range", "of medians", "train step", "range ", "of medians "),
    *("ours, s / image", "torch", "ours, step", "torch, step", "difference"),
)


class Case(NamedTuple):
    """Image height and width in pixels, output stride, images per batch."""

    height: int
    width: int
    output_stride: int
    batch: int

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width}_stride{self.output_stride}_batch{self.batch}"


def cases(sizes: Sequence[str], batches: Sequence[int], *, flag: str = "network_sizes") -> list[Case]:
    """Every size with every batch; ``flag`` is what an error calls them.

    Raises:
      ValueError: if a size is not height x width / stride.

    Example:
      >>> [case.name for case in cases(["160x64/16"], [4, 8])]
      ['160x64_stride16_batch4', '160x64_stride16_batch8']
    """
    found = []
    for text in sizes:
        try:
            shape, stride = str(text).split("/")
            height, width = (int(side) for side in shape.split("x"))
            pixels = int(stride)
        except ValueError:
            pixels = height = width = 0
        if pixels not in (16, 32) or min(height, width) < pixels:
            raise ValueError(f"{flag} must be HEIGHTxWIDTH/STRIDE such as 320x120/32, stride 16 or 32, got {text!r}")
        found += [Case(height, width, pixels, batch) for batch in batches]
    return found


def run(wanted: Sequence[Case], *, width: float, seed: int, rounds: int, progress: bool) -> Part:
    """Times every case; without torch, ours alone."""
    params = fcn.init(jax.random.key(seed), width=width)
    with_torch = importlib.util.find_spec("torch") is not None
    figures, rows = Figures(), []
    for case in wanted:
        images = np.random.default_rng(seed).normal(0, 50, (case.batch, case.height, case.width, 3)).astype(np.float32)
        contenders = _ours(params, images, case) + (_torchs(params, images, case) if with_torch else [])
        times = alternate(contenders, rounds=rounds, label=f"network, {case.name}", progress=progress)
        key = f"network/{case.name}"
        figures |= {f"{key}/{name}_seconds_per_image": timed.median for name, timed in times.items()}
        cells: list[str] = [""] * 6
        difference = ""
        if with_torch:
            forward = ratio(times["torch_forward"], times["forward"])
            step = ratio(times["torch_step"], times["step"])
            figures |= outcome.ratio_figures(f"{key}/forward", forward) | outcome.ratio_figures(f"{key}/step", step)
            cells = [*outcome.ratio_cells(forward), *outcome.ratio_cells(step)]
            found = np.asarray(times["forward"].result), times["torch_forward"].result.permute(0, 2, 3, 1).numpy()
            figures[f"{key}/difference"] = float(np.abs(found[0] - found[1]).max() / np.abs(found[1]).max())
            difference = number(float(figures[f"{key}/difference"]))
        seconds = [times[name].median if name in times else math.nan for name in _NAMES]
        shown = ["" if math.isnan(value) else number(value) for value in seconds]
        rows.append((case.name.replace("_", " "), *cells, *shown, difference))
    notes = [
        f"VGG-16 of {width:g} of its width, random weights, {cores.count()} cores; torch: channels_last, a thread "
        "per core",
        "step: value and gradient of the mean square of the maps in all parameters; difference: of the maps, relative",
    ]
    if not with_torch:
        notes.append("torch: not installed, so ours stands alone (pip install torch)")
    return Part([Table("Network", HEADER, rows, notes)], figures)


_NAMES = ("forward", "torch_forward", "step", "torch_step")


def _ours(params: fcn.Params, images: np.ndarray, case: Case) -> list[Contender]:
    @jax.jit
    def forward(params: Any, x: jax.Array) -> jax.Array:
        return fcn.apply(params, x, output_stride=case.output_stride)[0]

    @jax.jit
    def step(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        return jax.value_and_grad(lambda p: jnp.mean(jnp.square(forward(p, x))))(params)

    x = jnp.asarray(images)
    return [
        Contender("forward", lambda: jax.block_until_ready(forward(params, x)), case.batch),
        Contender("step", lambda: jax.block_until_ready(step(params, x)), case.batch),
    ]


def _torchs(params: fcn.Params, images: np.ndarray, case: Case) -> list[Contender]:
    torch = importlib.import_module("torch")
    torch.set_num_threads(cores.count())
    leaves = [tensor(torch, layer[name]) for layer in params.values() for name in ("kernel", "bias")]
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    apply = functools.partial(layers, torch, leaves, x, case.output_stride)

    def forward() -> Any:
        with torch.inference_mode():
            return apply()

    def step() -> Any:
        loss = apply().square().mean()
        return loss.detach(), torch.autograd.grad(loss, leaves)

    return [Contender("torch_forward", forward, case.batch), Contender("torch_step", step, case.batch)]


def tensor(torch: Any, values: Any) -> Any:
    """A kernel (3, 3, in, out) as torch's (out, in, 3, 3), channels last; a bias as it is."""
    array = np.array(values)
    if array.ndim == 1:
        return torch.from_numpy(array).requires_grad_()
    turned = torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))
    return turned.contiguous(memory_format=torch.channels_last).requires_grad_()


def layers(torch: Any, leaves: Sequence[Any], x: Any, output_stride: int, *, first_block: int = 1) -> Any:
    """torchvision's `vgg16().features` from a block on, written out."""
    functional, rest = torch.nn.functional, iter(leaves)
    for block, convolutions in enumerate(fcn.CONVOLUTIONS[first_block - 1 :], start=first_block):
        for _ in range(convolutions):
            x = torch.relu_(functional.conv2d(x, next(rest), next(rest), padding=1))
        if block < 5 or output_stride == 32:
            x = functional.max_pool2d(x, 2, 2)
    return x


def slowest(figures: Figures, what: str) -> float | None:
    """The smallest ratio of "forward" or "step" over the cases."""
    found = [float(v) for k, v in figures.items() if k.startswith("network/") and k.endswith(f"/{what}/ratio")]
    return min(found, default=None)
