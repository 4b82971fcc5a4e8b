"""Part `steps`: one step of training, ours against torch: pre-training, and fine-tuning with reconstruction.

Both take the same batch through the same VGG-16 from the same random weights, with the classifier's cross-entropy,
clipping of the gradient's norm and AdamW: `training.steps` compiled by XLA against autograd, with a thread per core.
With frozen blocks the batch is their stored outputs, as in the flag files for a CPU. Of pre-training both compute the
same loss, and it is compared. Of fine-tuning they do not: torch codes every patch on every whole image by ridge
regression and differentiates through the solution, as the public ports do; ours is the paper's lasso, exact.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dsr_jax import fcn, losses, networks
from dsr_jax.cpu import cores
from dsr_jax.solvers.ridge import KAPPA
from experiments.benchmarks import outcome
from experiments.benchmarks.alternating import Contender, Turns, alternate, ratio
from experiments.benchmarks.network import layers, tensor
from experiments.benchmarks.outcome import Figures, Part, Table
from experiments.benchmarks.settings import Case
from experiments.settings.training import Tuning, Update
from experiments.training import optimiser, steps

HEADER = ("step", "torch time / ours (range)", "of medians", "ours, s", "torch, s", "difference")
CLASSES, RATE, DECAY, TEMPERATURE = 767, 1e-4, 5e-4, 0.05


class Step(NamedTuple):
    """Kind of a step, number of frozen blocks, and name in the table."""

    kind: str
    frozen_blocks: int
    title: str


STEPS = (
    Step("identification", 0, "pre-training, all blocks"),
    Step("identification", 4, "pre-training, block 5"),
    Step("reconstruction", 4, "fine-tuning, block 5"),
)


def run(case: Case, *, width: float, seed: int, turns: Turns) -> Part:
    """Times every step; without torch, ours alone."""
    with_torch = importlib.util.find_spec("torch") is not None
    params = fcn.init(jax.random.key(seed), width=width)
    head = losses.init_head(jax.random.key(seed), width=round(width * fcn.CHANNELS[-1]), identities=CLASSES)
    figures: Figures = {}
    rows: list[tuple[outcome.Cell, ...]] = []
    for step in STEPS:
        batch = _batch(step, case, width, np.random.default_rng(seed))
        contenders = [_ours(step, case, params, head, batch)]
        if with_torch:
            contenders.append(_torchs(step, case, params, head, batch))
        times = alternate(contenders, turns, label=step.title)
        key = f"steps/{step.kind}_frozen{step.frozen_blocks}"
        figures |= {f"{key}/{name}_seconds": timed.median for name, timed in times.items()}
        cells: tuple[outcome.Cell, ...] = (None, None)
        theirs = difference = None
        if with_torch:
            figures[key] = against = ratio(times["torch"], times["ours"])
            cells, theirs = outcome.cells(against), times["torch"].median
            if step.kind == "identification":
                loss = {name: float(timed.result) for name, timed in times.items()}
                figures[f"{key}/difference"] = difference = abs(loss["ours"] - loss["torch"]) / abs(loss["torch"])
        rows.append((step.title, *cells, times["ours"].median, theirs, difference))
    notes = [
        f"VGG-16 of {width:g} of its width, {case.height} x {case.width}, stride {case.output_stride}, batches of "
        f"{case.batch}, {CLASSES} classes, AdamW, gradient clipped, {cores.count()} cores",
        "block 5: from the stored outputs of blocks 1 to 4. Fine-tuning: every patch against every whole image",
        "fine-tuning: ours codes by the lasso, torch by ridge regression; difference: of the losses, relative",
    ]
    if not with_torch:
        notes.append("torch: not installed, so ours stands alone (pip install torch)")
    return Part([Table("Steps of training", HEADER, rows, notes)], figures)


def _batch(step: Step, case: Case, width: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Images, or what the frozen blocks make of them: drawn."""

    def inputs(height: int) -> tuple[np.ndarray, np.ndarray]:
        if not step.frozen_blocks:
            values: np.ndarray = rng.integers(0, 256, (case.batch, height, case.width, 3), np.uint8)
            return values, np.full((case.batch, 2), (height, case.width), np.int32)
        size = height // 16, case.width // 16
        channels = round(width * fcn.CHANNELS[3])
        values = np.maximum(rng.standard_normal((case.batch, *size, channels)), 0).astype(np.float32)
        return values, np.full((case.batch, 2), size, np.int32)

    identities = rng.integers(0, CLASSES, case.batch).astype(np.int32)
    whole, whole_sizes = inputs(case.height)
    if step.kind == "identification":
        return {"inputs": whole, "sizes": whole_sizes, "identities": identities}
    patch, patch_sizes = inputs(case.height // 2 // 16 * 16)
    return {
        **{"whole": whole, "whole_sizes": whole_sizes, "whole_identities": identities},
        **{"patch": patch, "patch_sizes": patch_sizes, "patch_identities": identities},
        "sign": np.ones(case.batch, np.int8),
    }


def _ours(step: Step, case: Case, params: fcn.Params, head: Any, batch: dict[str, np.ndarray]) -> Contender:
    rule = optimiser.build("adam", RATE, Update("constant", 0.0, weight_decay=DECAY), count=1000)
    first = step.frozen_blocks + 1
    trunk = steps.Trunk(case.output_stride, first, step.frozen_blocks, "caffe")
    options: dict[str, Any] = {"optimiser": rule.transform, "trunk": trunk, "smoothing": 0.0}
    function: Callable[..., Any] = steps.identification_step
    if step.kind == "reconstruction":
        function = steps.reconstruction_step
        options["how"] = Tuning(verification="ranked", id_loss_weight=1.0, temperature=TEMPERATURE)
    compiled = jax.jit(functools.partial(function, **options))
    state = steps.init(params, head, rule.transform, frozen_blocks=step.frozen_blocks)
    frozen, _ = networks.split(params, step.frozen_blocks)
    given = jax.tree.map(jnp.asarray, batch)

    def call() -> Any:
        return jax.block_until_ready(compiled(state, frozen, given))[1]["loss"]

    return Contender("ours", call)


def _torchs(step: Step, case: Case, params: fcn.Params, head: Any, batch: dict[str, np.ndarray]) -> Contender:
    torch = importlib.import_module("torch")
    torch.set_num_threads(cores.count())
    trained = list(networks.split(params, step.frozen_blocks)[1].values())
    leaves = [tensor(torch, layer[leaf]) for layer in trained for leaf in ("kernel", "bias")]
    kernel, bias = (torch.tensor(np.array(head[leaf])).requires_grad_() for leaf in ("kernel", "bias"))
    rule = torch.optim.AdamW([*leaves, kernel, bias], lr=RATE, weight_decay=DECAY)
    given = {name: torch.from_numpy(values) for name, values in batch.items()}

    def maps(inputs: Any) -> Any:
        x = _caffe(torch, inputs) if inputs.dtype == torch.uint8 else inputs
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return layers(torch, leaves, x, case.output_stride, first_block=step.frozen_blocks + 1)

    def identification(maps_: Any, identities: Any) -> Any:
        return torch.nn.functional.cross_entropy(maps_.mean(dim=(2, 3)) @ kernel + bias, identities.long())

    def call() -> Any:
        rule.zero_grad(set_to_none=True)
        if step.kind == "identification":
            loss = identification(maps(given["inputs"]), given["identities"])
        else:
            whole, patch = maps(given["whole"]), maps(given["patch"])
            loss = identification(whole, given["whole_identities"]) + _ranking(torch, patch, whole)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*leaves, kernel, bias], 1.0)
        rule.step()
        return loss.detach()

    return Contender("torch", call)


def _caffe(torch: Any, images: Any) -> Any:
    """Keras' input convention: BGR of 0 to 255 minus the mean."""
    return images.flip(-1).float() - torch.tensor([103.939, 116.779, 123.68])


def _ranking(torch: Any, patch: Any, whole: Any) -> Any:
    """Softmax over the negative distances of every patch to every whole image, coded by ridge regression."""
    x, y = (torch.nn.functional.normalize(maps.flatten(2).transpose(1, 2), dim=2) for maps in (patch, whole))
    gram = y @ y.transpose(1, 2) + KAPPA * torch.eye(y.shape[1])
    columns = x.flatten(0, 1)
    codes = torch.linalg.solve(gram, y @ columns.T)  # (whole images, positions, all patches' positions)
    residuals = torch.linalg.norm(columns[None] - codes.transpose(1, 2) @ y, dim=2)
    distances = residuals.unflatten(1, x.shape[:2]).mean(dim=2).T
    return torch.nn.functional.cross_entropy(-distances / TEMPERATURE, torch.arange(len(distances)))
