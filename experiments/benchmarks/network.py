"""Part `network`: VGG-16 forward and one training step, ours compiled by XLA against torch, channels last.

Both run the same random weights on the same images, torch with a thread per core, or on a GPU compiled by
`torch.compile`; the step is value and gradient, in all parameters, of the mean square of the maps. Their maps are
compared: a fast wrong answer would be seen. On the CPU in float32; part `accelerator` also asks for bfloat16, which is
torch's autocast, and for the GPU.
"""

import functools
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import fcn
from dsr_jax.cpu import cores
from experiments.benchmarks import outcome
from experiments.benchmarks.alternating import Contender, Turns, alternate, ratio
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.benchmarks.settings import Case

HEADER = (
    *("case", "torch time / ours, forward (range)", "of medians", "train step (range)", "of medians"),
    *("ours, s / image", "torch", "ours, step", "torch, step", "difference"),
)
NAMES = ("forward", "torch_forward", "step", "torch_step")


class Way(NamedTuple):
    """How a case is computed: the type of the numbers, "float32" or "bfloat16", and torch's device, "cpu" or "cuda"."""

    dtype: str = "float32"
    device: str = "cpu"


PLAIN = Way()


def run(cases: Sequence[Case], *, width: float, seed: int, turns: Turns) -> Part:
    """Times every case on the CPU; without torch, ours alone."""
    table, figures = measured({case.name: (case, PLAIN) for case in cases}, width=width, seed=seed, turns=turns)
    where = f"{cores.count()} cores; torch: channels_last, a thread per core"
    notes = [f"VGG-16 of {width:g} of its width, random weights, {where}", *table.notes]
    return Part([table._replace(notes=notes)], figures)


def missing(device: str) -> str:
    """Why torch cannot be measured on a device, in words; empty if it can."""
    if importlib.util.find_spec("torch") is None:
        return "not installed, so ours stands alone (pip install torch)"
    if device == "cuda" and not importlib.import_module("torch").cuda.is_available():
        return "sees no GPU, so ours stands alone (install torch with CUDA)"
    return "" if device in ("cpu", "cuda") else f"has no {device}, so ours stands alone"


def measured(
    ways: Mapping[str, tuple[Case, Way]], *, width: float, seed: int, turns: Turns, key: str = "network"
) -> tuple[Table, Figures]:
    """Times every case in its way, by name; without torch, ours alone. Figures are under a key."""
    params = fcn.init(jax.random.key(seed), width=width)
    figures: Figures = {}
    rows: list[tuple[outcome.Cell, ...]] = []
    for name, (case, way) in ways.items():
        absent = missing(way.device)
        images = np.random.default_rng(seed).normal(0, 50, (case.batch, case.height, case.width, 3)).astype(np.float32)
        contenders = _ours(params, images, case, way) + ([] if absent else _torchs(params, images, case, way))
        times = alternate(contenders, turns, label=f"network, {name}")
        under = f"{key}/{name}"
        figures |= {f"{under}/{what}_seconds_per_image": timed.median for what, timed in times.items()}
        ratios: tuple[outcome.Cell, ...] = (None,) * 4
        difference = None
        if not absent:
            forward = ratio(times["torch_forward"], times["forward"])
            step = ratio(times["torch_step"], times["step"])
            ours = np.asarray(times["forward"].result, np.float32)
            theirs = times["torch_forward"].result.permute(0, 2, 3, 1).float().cpu().numpy()
            difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
            figures |= {f"{under}/forward": forward, f"{under}/step": step, f"{under}/difference": difference}
            ratios = (*outcome.cells(forward), *outcome.cells(step))
        seconds = [times[what].median if what in times else None for what in NAMES]
        rows.append((name.replace("_", " "), *ratios, *seconds, difference))
    notes = [
        "step: value and gradient of the mean square of the maps in all parameters; difference: of the maps, relative",
        *sorted({f"torch: {why}" for _, way in ways.values() if (why := missing(way.device))}),
    ]
    return Table("Network", HEADER, rows, notes), figures


def _ours(params: fcn.Params, images: np.ndarray, case: Case, way: Way = PLAIN) -> list[Contender]:
    @jax.jit
    def forward(params: Any, x: jax.Array) -> jax.Array:
        return fcn.apply(params, x, output_stride=case.output_stride, dtype=jnp.dtype(way.dtype))[0]

    @jax.jit
    def step(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        return jax.value_and_grad(lambda p: jnp.mean(jnp.square(forward(p, x).astype(jnp.float32))))(params)

    x = jnp.asarray(images)
    return [
        Contender("forward", lambda: jax.block_until_ready(forward(params, x)), case.batch),
        Contender("step", lambda: jax.block_until_ready(step(params, x)), case.batch),
    ]


def _torchs(params: fcn.Params, images: np.ndarray, case: Case, way: Way = PLAIN) -> list[Contender]:
    torch = importlib.import_module("torch")
    torch.set_num_threads(cores.count())
    leaves = [tensor(torch, layer[name], way.device) for layer in params.values() for name in ("kernel", "bias")]
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last).to(way.device)
    apply, wait = functools.partial(layers, torch), int
    if way.device == "cuda":
        apply, wait = torch.compile(apply), torch.cuda.synchronize

    def maps() -> Any:
        with torch.autocast(way.device, torch.bfloat16, enabled=way.dtype == "bfloat16"):
            return apply(leaves, x, case.output_stride)

    def forward() -> Any:
        with torch.inference_mode():
            found = maps()
            wait()
            return found

    def step() -> Any:
        loss = maps().float().square().mean()
        gradient = torch.autograd.grad(loss, leaves)
        wait()
        return loss.detach(), gradient

    return [Contender("torch_forward", forward, case.batch), Contender("torch_step", step, case.batch)]


def tensor(torch: Any, values: Any, device: str = "cpu") -> Any:
    """A kernel (3, 3, in, out) as torch's (out, in, 3, 3), channels last; a bias as it is."""
    array = np.array(values)
    if array.ndim == 1:
        return torch.from_numpy(array).to(device).requires_grad_()
    turned = torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))
    return turned.contiguous(memory_format=torch.channels_last).to(device).requires_grad_()


def layers(torch: Any, leaves: Sequence[Any], x: Any, output_stride: int, *, first_block: int = 1) -> Any:
    """torchvision's `vgg16().features` from a block on, written out."""
    functional, rest = torch.nn.functional, iter(leaves)
    for block, convolutions in enumerate(fcn.CONVOLUTIONS[first_block - 1 :], start=first_block):
        for _ in range(convolutions):
            x = torch.relu_(functional.conv2d(x, next(rest), next(rest), padding=1))
        if block < 5 or output_stride == 32:
            x = functional.max_pool2d(x, 2, 2)
    return x
