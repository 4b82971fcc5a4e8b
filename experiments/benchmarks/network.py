"""Part `network`: VGG-16 forward and one training step, ours compiled by XLA against torch, channels last, float32.

Both run the same random weights on the same images, torch with a thread per core; the step is value and gradient, in
all parameters, of the mean square of the maps. Their maps are compared: a fast wrong answer would be seen.
"""

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

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


def run(cases: Sequence[Case], *, width: float, seed: int, turns: Turns) -> Part:
    """Times every case; without torch, ours alone."""
    params = fcn.init(jax.random.key(seed), width=width)
    with_torch = importlib.util.find_spec("torch") is not None
    figures: Figures = {}
    rows: list[tuple[outcome.Cell, ...]] = []
    for case in cases:
        images = np.random.default_rng(seed).normal(0, 50, (case.batch, case.height, case.width, 3)).astype(np.float32)
        contenders = _ours(params, images, case) + (_torchs(params, images, case) if with_torch else [])
        times = alternate(contenders, turns, label=f"network, {case.name}")
        key = f"network/{case.name}"
        figures |= {f"{key}/{name}_seconds_per_image": timed.median for name, timed in times.items()}
        ratios: tuple[outcome.Cell, ...] = (None,) * 4
        difference = None
        if with_torch:
            forward = ratio(times["torch_forward"], times["forward"])
            step = ratio(times["torch_step"], times["step"])
            ours, theirs = times["forward"].result, times["torch_forward"].result.permute(0, 2, 3, 1).numpy()
            difference = float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())
            figures |= {f"{key}/forward": forward, f"{key}/step": step, f"{key}/difference": difference}
            ratios = (*outcome.cells(forward), *outcome.cells(step))
        seconds = [times[name].median if name in times else None for name in NAMES]
        rows.append((case.name.replace("_", " "), *ratios, *seconds, difference))
    notes = [
        f"VGG-16 of {width:g} of its width, random weights, {cores.count()} cores; torch: channels_last, a thread "
        "per core",
        "step: value and gradient of the mean square of the maps in all parameters; difference: of the maps, relative",
    ]
    if not with_torch:
        notes.append("torch: not installed, so ours stands alone (pip install torch)")
    return Part([Table("Network", HEADER, rows, notes)], figures)


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
