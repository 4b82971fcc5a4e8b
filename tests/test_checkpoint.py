"""Checkpoints: bit for bit, whole or not at all, and clear about what does not fit."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.training import checkpoint

from .conftest import ROOT


class Momentum(NamedTuple):
    """An optimizer's state, as optax shapes it."""

    mean: dict[str, jax.Array]
    count: jax.Array


def training_state(seed: int = 0) -> dict[str, object]:
    """Parameters, optimizer, key: every kind of leaf that training has."""
    rng = np.random.default_rng(seed)
    w = jnp.asarray(rng.standard_normal((5, 7)), jnp.float32)
    return {
        "params": {"w": w, "half": w.astype(jnp.bfloat16)},
        "optimizer": (Momentum({"w": w * jnp.float32(1e-30)}, jnp.int32(seed)), None),
        "key": jax.random.key(seed),
        "step": jnp.int32(seed),
    }


def bits(state: object) -> list[bytes]:
    """Every leaf as bytes."""
    leaves = jax.tree.map(
        lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state
    )
    return [np.asarray(x).tobytes() for x in jax.tree.leaves(leaves)]


def test_restore_gives_the_same_bits_structure_and_extra(tmp_path):
    state = training_state(3)
    with checkpoint.Checkpoints(tmp_path / "new" / "folder") as checkpoints:
        checkpoints.save(17, state, {"iterator": {"next_index": 5}, "losses": [0.5, None]})
    restored, extra, step = checkpoint.Checkpoints(tmp_path / "new" / "folder").restore(training_state(0))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert bits(restored) == bits(state)
    assert extra == {"iterator": {"next_index": 5}, "losses": [0.5, None]}
    assert step == 17


def test_restore_takes_shapes_without_values(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, training_state(1))
        restored, extra, _ = checkpoints.restore(jax.eval_shape(lambda: training_state(0)))
    assert bits(restored) == bits(training_state(1))
    assert extra == {}


def test_not_a_number_survives(tmp_path):
    state = {"x": jnp.array([jnp.nan, -0.0, jnp.inf], jnp.float32)}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    assert bits(checkpoint.Checkpoints(tmp_path).restore(state)[0]) == bits(state)


def test_arrays_go_where_their_counterparts_are(tmp_path):
    mesh = jax.make_mesh((4,), ("gallery",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("gallery"))
    x = jnp.arange(32, dtype=jnp.float32).reshape(8, 4)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jax.device_put(x, sharding)})
        whole = checkpoints.restore({"x": x})[0]["x"]
        split = checkpoints.restore({"x": jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)})[0]["x"]
    assert whole.sharding == x.sharding
    assert split.sharding == sharding
    np.testing.assert_array_equal(whole, x)
    np.testing.assert_array_equal(split, x)


def test_donated_buffers_do_not_reach_the_checkpoint(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x * jnp.float32(2), state), donate_argnums=0)
    state = {"x": jnp.full((512, 512), 3.0)}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        for _ in range(3):
            state = step(state)
        assert (checkpoints.restore(state)[0]["x"] == 3).all()


def test_only_the_newest_are_kept(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest() is None
        for step in (1, 2, 10, 9):
            checkpoints.save(step, {"x": jnp.int32(step)})
    assert checkpoints.steps() == [9, 10]
    assert checkpoints.latest() == 10
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["10", "9"]


def test_a_whole_checkpoint_is_never_replaced(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(4, {"x": jnp.int32(0)})
        with pytest.raises(ValueError, match="step=4 is saved in .* already"):
            checkpoints.save(4, {"x": jnp.int32(1)})
        assert checkpoints.restore({"x": jnp.int32(9)})[0]["x"] == 0


def test_the_best_is_kept_beside_the_newest_and_known_after_a_restart(tmp_path):
    def x(step):
        return {"x": jnp.int32(step)}

    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        for step, score in enumerate([0.2, 0.7, 0.7, None, 0.5], start=1):
            checkpoints.save(step, x(step), score=score)
    assert checkpoints.best == (2, 0.7), "of equals the first"
    assert checkpoints.steps() == [2, 5]
    with checkpoint.Checkpoints(tmp_path, keep=1) as later:
        assert later.restore(x(0))[2] == 5 and later.best == (2, 0.7)
        assert later.restore(x(0), best=True)[2] == 2
        later.save(6, x(6), score=0.6)
        later.save(7, x(7), score=0.9)
        assert later.restore(x(0), best=True)[0]["x"] == 7
    assert later.steps() == [7]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_best_gives_way_to_the_newest(tmp_path):
    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, {"x": jnp.int32(1)}, score=1.0)
        checkpoints.save(2, {"x": jnp.int32(2)}, score=0.0)
        checkpoints.wait()
        (tmp_path / "1" / "_CHECKPOINT_METADATA").unlink()
        with pytest.warns(UserWarning, match="1 is damaged"):
            assert checkpoints.restore({"x": jnp.int32(0)}, best=True)[2] == 2


def test_without_scores_the_best_is_the_newest(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.int32(1)})
        checkpoints.save(2, {"x": jnp.int32(2)})
        assert checkpoints.best is None and checkpoints.restore({"x": jnp.int32(0)}, best=True)[2] == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_after_a_damaged_one_what_is_saved_next_counts(tmp_path):
    """Its step may be lower than that of the damaged one, or the same; neither must cost the new one its place."""
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, {"x": jnp.int32(step)})
    (tmp_path / "20" / "_CHECKPOINT_METADATA").unlink()
    with checkpoint.Checkpoints(tmp_path, keep=2) as checkpoints:
        with pytest.warns(UserWarning, match="20 is damaged"):
            assert checkpoints.restore({"x": jnp.int32(0)})[2] == 10
        assert (tmp_path / "20").exists(), "reading changes nothing"
        for step in (15, 18, 20):
            checkpoints.save(step, {"x": jnp.int32(-step)})
            assert (tmp_path / "damaged-20").exists() == (step == 15), "until a later one is complete"
    assert checkpoints.steps() == [18, 20]
    assert checkpoint.Checkpoints(tmp_path).restore({"x": jnp.int32(0)})[0]["x"] == -20
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["18", "20"]


def test_nothing_is_removed_before_its_successor_is_complete(tmp_path, monkeypatch):
    """Every removal is watched: whole checkpoints go only when as many newer ones are whole."""
    removed, rmtree = [], shutil.rmtree

    def watched(folder, *arguments, **options):
        removed.append((Path(folder).name, checkpoints.steps()))
        return rmtree(folder, *arguments, **options)

    checkpoints = checkpoint.Checkpoints(tmp_path, keep=2)
    monkeypatch.setattr(checkpoint.shutil, "rmtree", watched)
    with checkpoints:
        for step in (1, 2, 3, 4, 5):
            checkpoints.save(step, {"x": jnp.int32(step)})
    assert removed == [("1", [2, 3]), ("2", [3, 4]), ("3", [4, 5])]


def test_an_interrupted_removal_leaves_no_half_checkpoint(tmp_path, monkeypatch):
    with checkpoint.Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, {"x": jnp.int32(1)})
        checkpoints.save(2, {"x": jnp.int32(2)})
        with monkeypatch.context() as patched:
            patched.setattr(checkpoint.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                checkpoints.wait()
        assert (tmp_path / "1" / "_CHECKPOINT_METADATA").exists(), "half of it is there"
    again = checkpoint.Checkpoints(tmp_path, keep=1)
    assert again.steps() == [2]
    with again:
        again.save(3, {"x": jnp.int32(3)})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["3"]


@pytest.fixture
def full_disk():
    """A switch: from then on no file of this process can grow beyond 100 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_error_and_the_earlier_checkpoint_intact(tmp_path, full_disk):
    state = {"x": jnp.asarray(np.random.default_rng(0).standard_normal(100_000), jnp.float32)}
    checkpoints = checkpoint.Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, state)
    checkpoints.wait()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    full_disk()
    checkpoints.save(2, state, score=1.0)
    with pytest.raises(OSError, match=r"could not be written into .*too large.*make room.*start again"):
        checkpoints.wait()
    assert checkpoints.steps() == [1]
    assert before.items() <= {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}.items()
    restored, _, step = checkpoint.Checkpoints(tmp_path).restore(state)
    assert step == 1 and bits(restored) == bits(state)


def test_a_failed_save_does_not_hide_what_ended_the_training(tmp_path, full_disk):
    state = {"x": jnp.asarray(np.random.default_rng(0).standard_normal(100_000), jnp.float32)}
    full_disk()
    with pytest.warns(UserWarning, match="could not be written"), pytest.raises(ZeroDivisionError):
        with checkpoint.Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, state)
            raise ZeroDivisionError


def test_a_step_without_its_marker_is_not_a_step(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.int32(1)})
        checkpoints.save(2, {"x": jnp.int32(2)})
        checkpoints.wait()
        (tmp_path / "2" / checkpoint.COMMIT_MARKER).unlink()
        (tmp_path / "99").mkdir()
        assert checkpoints.latest() == 1
        assert checkpoints.restore({"x": jnp.int32(0)})[2] == 1
        checkpoints.save(3, {"x": jnp.int32(3)})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["1", "3"]


def test_every_difference_of_structure_is_named(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, training_state())
    wanted = training_state()
    del wanted["step"]
    wanted["params"] = {"w": jnp.zeros((5, 8)), "half": jnp.zeros((5, 7)), "b": jnp.zeros(3)}
    with pytest.raises(ValueError) as error:
        checkpoint.Checkpoints(tmp_path).restore(wanted)
    message = str(error.value)
    assert "step: saved, but not wanted" in message
    assert "params/b: wanted, but not saved" in message
    assert "params/w: saved as float32 (5, 7), wanted as float32 (5, 8)" in message
    assert "params/half: saved as bfloat16 (5, 7), wanted as float32 (5, 7)" in message
    assert "optimizer" not in message


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        checkpoint.Checkpoints(tmp_path, keep=0)
    checkpoints = checkpoint.Checkpoints(tmp_path / "none")
    with pytest.raises(ValueError, match="no checkpoint in .*none"):
        checkpoints.restore({})
    with pytest.raises(ValueError, match="step=-1"):
        checkpoints.save(-1, {"x": jnp.int32(0)})
    with pytest.raises(ValueError, match="extra holds what JSON cannot"):
        checkpoints.save(1, {"x": jnp.int32(0)}, {"path": Path()})
    with pytest.raises(ValueError, match="score=nan"):
        checkpoints.save(1, {"x": jnp.int32(0)}, score=float("nan"))


# Orbax's background threads complain on stderr about what they could not read.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "record"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, damage):
    state = {"x": jnp.asarray(np.random.default_rng(0).standard_normal(4096), jnp.float32)}
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {"is": "whole"})
        checkpoints.save(2, state)
    largest = max((tmp_path / "2" / "state").rglob("*"), key=lambda file: file.stat().st_size)
    content = bytearray(largest.read_bytes())
    assert len(content) > 10_000, "the file with the numbers"
    if damage == "truncated":
        largest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[len(content) // 2] ^= 0x10
        largest.write_bytes(content)
    elif damage == "missing":
        largest.unlink()
    else:
        (tmp_path / "2" / "_CHECKPOINT_METADATA").write_text("{")
    with pytest.warns(UserWarning, match="2 is damaged, passed over"):
        restored, extra, step = checkpoint.Checkpoints(tmp_path).restore(state)
    assert step == 1 and extra == {"is": "whole"}
    assert bits(restored) == bits(state)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_nothing_left_to_read_is_an_error(tmp_path):
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": jnp.int32(1)})
    (tmp_path / "1" / "_CHECKPOINT_METADATA").unlink()
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(ValueError, match="can be read"):
        checkpoints.restore({"x": jnp.int32(1)})


SAVE_FOR_EVER = """
    import itertools, sys
    import jax.numpy as jnp
    from experiments.training import checkpoint

    checkpoints = checkpoint.Checkpoints(sys.argv[1])
    for step in itertools.count(1):
        checkpoints.save(step, {"x": jnp.full((1000, 1000), step, jnp.float32)}, {"step": step})
        print(step, flush=True)  # the save of this step is under way
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [3, 6])
def test_killed_while_saving(tmp_path, kill_at):
    command = [sys.executable, "-c", textwrap.dedent(SAVE_FOR_EVER), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= kill_at:
                os.kill(process.pid, signal.SIGKILL)
                break
    checkpoints = checkpoint.Checkpoints(tmp_path)
    assert checkpoints.latest() is not None and checkpoints.latest() >= kill_at - 1
    state, extra, step = checkpoints.restore({"x": jnp.zeros((1000, 1000))})
    assert (state["x"] == step).all() and extra == {"step": step}
    with checkpoints:
        checkpoints.save(1000, state)
    assert checkpoints.steps()[-1] == 1000
    assert all(name.isdigit() for name in os.listdir(tmp_path)), "leftovers of the killed save are gone"
