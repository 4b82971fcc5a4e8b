"""Maps, distances and losses that must be the same on any number of devices; and the same by several processes.

python -m tests.joined RESULT COORDINATOR_ADDRESS NUM_PROCESSES PROCESS_ID
"""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dsr_jax import extract, losses, match, networks
from dsr_jax.parallel import hosts, sharding
from experiments.settings.training import Tuning
from experiments.training import checkpoint, steps

STEPS, PAIRS, PEOPLE = 10, 5, 4  # five pairs: no number of devices here divides them
HALF = STEPS // 2
SHAPE, PATCH = (4, 3, 16), (3, 3, 16)
FORMS = ("identification", "signed", "ranked", "resnet50")  # the last: signed, of a network with batch normalisation
WIDTHS = {"vgg16": 0.03, "resnet50": 1 / 32}


@functools.cache
def network(architecture="vgg16"):
    """A tiny network and its classifier; not before the processes are joined."""
    params = networks.init(architecture, jax.random.key(0), width=WIDTHS[architecture])
    return params, losses.init_head(jax.random.key(1), width=networks.channels(params), identities=PEOPLE)


def architecture(form):
    return "resnet50" if form == "resnet50" else "vgg16"


@functools.cache
def training(form, over):
    """First state, frozen parameters and compiled step: block 5 and the classifier are trained."""
    params, head = network(architecture(form))
    rate = 3e-3 if form == "resnet50" else 3e-2  # batch normalisation, of a few positions here, magnifies rounding
    optimiser = optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(rate, momentum=0.9))
    common = {"optimiser": optimiser, "trunk": steps.Trunk(16, 5, 4, "torch"), "smoothing": 0.1, "mesh": over}
    if form == "identification":
        step = functools.partial(steps.identification_step, **common)
    else:
        signed = form != "ranked"
        how = Tuning(verification="signed" if signed else form, id_loss_weight=0.5, id_patches=signed)
        step = functools.partial(steps.reconstruction_step, how=how, **common)
    frozen = {name: layer for name, layer in params.items() if int(name[5]) < 5}
    state = steps.init(params, head, optimiser, frozen_blocks=4)
    step = jax.jit(step, donate_argnums=0, out_shardings=sharding.everywhere(over))
    return state, sharding.replicated(frozen, over), step


@jax.numpy_dtype_promotion("standard")  # Optax mixes integers and floats
def trained(form, over, *, count=STEPS, state=None, first=0, pairs=PAIRS):
    """State and figures (count, ...) of training on batches of ``pairs`` that no two steps share."""
    begin, frozen, step = training(form, over)
    if state is None:
        state = sharding.replicated(jax.tree.map(functools.partial(jnp.array, copy=True), begin), over)
    found = []
    for number in range(first, first + count):
        batch = compared(number, pairs, depth(form))
        if form == "identification":
            batch = {name: batch[f"whole_{name}"] for name in ("sizes", "identities")} | {"inputs": batch["whole"]}
        state, figures = step(state, frozen, sharding.spread(batch, over))
        found.append([float(figures[name]) for name in sorted(figures)])
    return state, np.array(found)


def depth(form):
    """Channels of the frozen blocks' outputs."""
    layer = "block4f_conv3" if form == "resnet50" else "block4_conv3"
    return network(architecture(form))[0][layer]["kernel"].shape[3]


def compared(number, count, depth):
    """A batch of pairs, as outputs of the frozen blocks; every patch has a whole image of its person in it."""
    rng = np.random.default_rng(number)
    people = rng.integers(0, PEOPLE, count).astype(np.int32)
    sign = np.where(np.arange(count) % 3 < 2, 1, -1).astype(np.int32)
    heights = rng.integers(2, PATCH[0] + 1, count)
    patch = rng.random((count, *PATCH[:2], depth)).astype(np.float32)
    for values, height in zip(patch, heights, strict=True):
        values[height:] = 0
    return {
        "whole": rng.random((count, *SHAPE[:2], depth)).astype(np.float32),
        "whole_sizes": np.tile(np.array(SHAPE[:2], np.int32), (count, 1)),
        "whole_identities": people,
        "patch": patch,
        "patch_sizes": np.stack([heights, np.full(count, PATCH[1])], axis=1).astype(np.int32),
        "patch_identities": np.where(sign > 0, people, np.roll(people, 1)).astype(np.int32),
        "sign": sign,
    }


def images():
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, size, np.uint8) for size in [(32, 32, 3), (48, 20, 3), (30, 33, 3), (32, 32, 3)] * 2]


def drawn(count, seed, heights=(3, 4)):
    """Maps sparse enough for codes to matter, of several sizes."""
    rng = np.random.default_rng(seed)
    return [(rng.random((heights[i % len(heights)], *SHAPE[1:])) ** 4).astype(np.float32) for i in range(count)]


PROBES, GALLERY, LABELS = drawn(3, 1), drawn(7, 2), [0, 1, 1, 2, 3, 4, 4]


def matched(coder, **options):
    return match.distances(PROBES, GALLERY, coder=coder, scales=(1, 2), **options)


def everything():
    """All that two processes are compared by."""
    over = sharding.mesh()
    found = {form: trained(form, over)[1] for form in FORMS}
    found |= {f"map{i}": m for i, m in enumerate(extract.maps(network()[0], images(), output_stride=16, max_buckets=2))}
    # Sides that no number of whole cells covers: ResNet-50 maps have a cell more there than VGG-16 maps.
    other = extract.maps(network("resnet50")[0], images(), convention="torch", output_stride=16, max_buckets=1)
    found |= {f"resnet_map{i}": m for i, m in enumerate(other)}
    found["active_set"] = matched("active_set", identities=LABELS).upper
    found["ridge"] = matched("ridge", identities=LABELS).distance
    found["joint"] = matched("auto", dictionary="joint", boost=1.2).distance
    found["one"] = match.distances(PROBES[0], GALLERY[0]).distance
    return found


def main(result, address, count, number, folder):
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    hosts.connect(address, int(count), int(number))
    assert jax.device_count() == 2 * int(count) and hosts.first() == (number == "0")
    found = everything()
    # Half of the training, a checkpoint that all write together, and the rest from it.
    over = sharding.mesh()
    half, before = trained("signed", over, count=HALF)
    with checkpoint.Checkpoints(folder) as checkpoints:
        checkpoints.save(HALF, half)
        checkpoints.wait()
        hosts.wait("saved")
        half, _, step = checkpoints.restore(half)
    found["restored"] = np.concatenate([before, trained("signed", over, count=HALF, state=half, first=step)[1]])
    try:
        hosts.agree("flags", {"--seed": 0, "--steps": int(number)})
        found["disagreement"] = np.array("")
    except ValueError as error:
        found["disagreement"] = np.array(str(error))
    np.savez(result, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
