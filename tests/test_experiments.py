"""Runners end to end on drawn people: the numbers by another path, resuming bit for bit, and bad input."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from dsr_jax import fcn, match, weights
from experiments import finetune, pretrain, run
from experiments import workdir as workdirs
from tests.runners import (
    COMPARE,
    HEIGHT,
    METHODS,
    PARAMS,
    SMALL,
    WIDTH,
    call,
    contents,
    evaluated,
    finished,
    listing,
    metrics_of,
    prepared,
    start,
    write_people,
)

RANKS = (1, 3, 5, 10, 20)


# The folder, from CSV to metrics


def by_hand(folder, rows, size):
    """Hit places and APs of the methods, picture by picture, pair by pair."""

    def feature_map(picture, shape):
        pixels = np.asarray(Image.fromarray(picture).resize(shape[::-1], Image.Resampling.BICUBIC))
        return np.asarray(fcn.apply(PARAMS, fcn.preprocess(pixels[None]))[0][0])

    pictures = {row[0]: np.asarray(Image.open(folder / row[0])) for row in rows}
    probes, gallery = ([row for row in rows if row[3] == role] for role in ("probe", "gallery"))
    known = {row[1] for row in gallery}
    places = {method: [] for method in METHODS}
    for path, identity, *_ in probes:
        if identity in known:
            picture = pictures[path]
            scaled = (round(picture.shape[0] * size[0] / HEIGHT), round(picture.shape[1] * size[1] / WIDTH))
            own, squeezed = feature_map(picture, scaled), feature_map(picture, size)
            found = {method: {} for method in METHODS}
            for entry, other, *_ in gallery:
                y = feature_map(pictures[entry], size)
                found["resizing"][other] = np.linalg.norm(squeezed - y)
                found["dsr_single"][other] = match.distances(own, y, scales=(1,)).distance[0, 0]
                found["dsr_multi"][other] = match.distances(own, y, scales=(1, 2, 3)).distance[0, 0]
            for method, values in found.items():
                places[method].append(sum(d < values[identity] for d in values.values()))
    return places


@pytest.mark.slow
def test_the_two_commands_of_the_readme(tmp_path, network):
    """Run from the folder of the CSV; one probe's person is not in the gallery."""
    rows = listing(probes=(0, 1, 2, 3, 4, 7))
    write_people(tmp_path, rows)
    (tmp_path / "vgg16.npz").write_bytes(network.read_bytes())
    arguments = "--dataset=folder --source=people.csv --data_dir=DATA".split()
    output, _ = finished(start("data.prepare", *arguments, cwd=tmp_path))
    assert "probe" in output and "5 of 6 probe identities are in the gallery" in output
    arguments = (
        "--dataset=folder --data_dir=DATA --weights=vgg16.npz --methods=resizing,dsr_single,dsr_multi --shots=1 "
        "--trials=1 --partial=none --probe_scale=keep --workdir=OUT"
    ).split()
    output, errors = finished(start("experiments.evaluate", *arguments, cwd=tmp_path))
    assert "1 probes without a right answer are left out: probe/7.png" in output and "Traceback" not in errors
    found = metrics_of(tmp_path / "OUT")
    for method, places in by_hand(tmp_path, rows, (320, 120)).items():
        expected = {f"rank{k}": 100 * np.mean(np.array(places) < k) for k in RANKS}
        expected["mAP"] = 100 * np.mean([1 / (place + 1) for place in places])
        for name, value in expected.items():
            key = f"{method}/shots1/{name}"
            assert found.pop(key) == pytest.approx(value), key
            assert found.pop(f"{key}_low") <= value + 1e-9 and value - 1e-9 <= found.pop(f"{key}_high")
    assert {key.split("/")[2].removesuffix("_low").removesuffix("_high") for key in found if "/" in key} == {
        *("mINP", "EER", "TPR@0.001", "TPR@0.01", "TPR@0.1", "ties", "equally_far")
    }
    assert {key: value for key, value in found.items() if "/" not in key} == {
        "probes": 5,
        "probes_without_answer": 1,
        "gallery": 5,
        "trials": 1,
        "camera_rule": "cross",
        "partial": "none",
        **dict.fromkeys(("probe_cameras_unknown", "gallery_cameras_unknown", "probes_larger", "probes_smaller"), 0),
    }
    assert (tmp_path / "OUT" / "report" / "index.html").exists()


@pytest.mark.slow
def test_without_cameras_every_gallery_image_counts(tmp_path, network, capsys):
    folder = prepared(tmp_path, listing(shots=2), cameras=False)
    found = evaluated(folder, network, tmp_path / "out", "--shots=1,3", "--methods=resizing,dsr_single")
    assert {key.rpartition("/")[0] for key in found if "rank5" in key} == {
        f"{method}/shots{n}" for method in ("resizing", "dsr_single") for n in (1, 3)
    }
    assert "3 shots: 5 identities have fewer images: 0, 1, 2, 3, 4" in capsys.readouterr().out


def test_one_camera_only_needs_the_other_rule(tmp_path, network, capsys):
    folder = prepared(tmp_path, listing(cameras=(1, 1)))
    evaluated(folder, network, tmp_path / "out", code=1)
    assert "No probe has a right answer" in capsys.readouterr().err and not (tmp_path / "out").exists()
    found = evaluated(folder, network, tmp_path / "out", "--camera_rule=any", "--methods=resizing")
    assert found["probes"] == 5


def test_a_single_identity_is_found_without_an_interval(tmp_path, network):
    folder = prepared(tmp_path, listing(probes=(2,), gallery=(2,)))
    found = evaluated(folder, network, tmp_path / "out", "--methods=dsr_single")
    assert found["dsr_single/shots1/rank1"] == 100.0 and found["dsr_single/shots1/rank1_low"] is None


def test_evaluating_again_gives_the_same_numbers(people, network, tmp_path):
    arguments = ("--partial=crop", "--trials=3", "--methods=dsr_single")
    first = evaluated(people, network, tmp_path / "a", *arguments)
    assert first == evaluated(people, network, tmp_path / "b", *arguments)
    assert first == evaluated(people, network, tmp_path / "a", *arguments)


def test_probes_of_unknown_scale_are_brought_to_the_width(people, network, tmp_path):
    assert evaluated(people, network, tmp_path / "out", "--probe_scale=width", "--methods=resizing")["probes"] == 5


# Training


def tune(data_dir, workdir, *arguments, job=call):
    return job(
        finetune if job is call else "experiments.finetune",
        *(
            "--dataset=folder",
            f"--data_dir={data_dir}",
            f"--workdir={workdir}",
            "--width=0.03125",
            "--plot_every=0",
            *SMALL,
        ),
        *("--pretrain_steps=3", "--pretrain_batch_size=4", "--pretrain_rate=1e-3", "--steps=4", "--batch_size=2"),
        *("--positives=6", "--negatives=6", "--id_loss_weight=0.5", "--checkpoint_every=2", "--noevaluate"),
        *arguments,
    )


@pytest.fixture(scope="module")
def tuned(people, tmp_path_factory):
    """The workdir of an uninterrupted fine-tuning, compared before and after."""
    workdir = tmp_path_factory.mktemp("runs") / "tuned"
    assert tune(people, workdir, *COMPARE, "--evaluate") == 0
    return workdir


def steps_of(workdir):
    entries = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return [(entry["phase"], entry["step"]) for entry in entries]


EVERY_STEP = [("identification", n) for n in (1, 2, 3)] + [("reconstruction", n) for n in (1, 2, 3, 4)]


@pytest.mark.slow
def test_fine_tuning_leaves_what_it_promises(tuned):
    found = metrics_of(tuned)
    keys = {f"{when}/{method}/shots1/rank1" for when in ("before", "after") for method in METHODS}
    assert keys <= set(found) and found["steps"] == 4 and found["identities"] == 4
    assert steps_of(tuned) == EVERY_STEP
    assert json.loads((tuned / "config.json").read_text())["flags"]["seed"] == 0
    page = (tuned / "report" / "index.html").read_text()
    assert "before/dsr_multi/shots1" in page and "<svg" in page
    assert weights.read_card(tuned).extra["phase"] == "reconstruction"


@pytest.mark.slow
def test_the_numbers_after_are_those_of_the_network_that_was_written(tuned, people, tmp_path):
    again = evaluated(people, tuned, tmp_path / "out")
    both = metrics_of(tuned)
    assert all(both[f"after/{key}"] == value for key, value in again.items() if "/" in key)


@pytest.mark.slow
def test_a_finished_run_says_so_and_prints_its_table_again(tuned, people, capsys):
    before = contents(tuned)
    assert tune(people, tuned, *COMPARE, "--evaluate") == 0
    output = capsys.readouterr().out
    assert "has finished" in output and "after/dsr_multi/shots1" in output
    assert contents(tuned) == before


@pytest.mark.slow
def test_fine_tuning_a_given_network_keeps_it_for_the_comparison(tuned, people, tmp_path):
    """Training donates its buffers; the network before must not be among them."""
    arguments = (f"--weights={tuned}", "--pretrain_steps=0", *COMPARE, "--evaluate")
    assert tune(people, tmp_path / "more", *arguments) == 0
    found, given = metrics_of(tmp_path / "more"), metrics_of(tuned)
    assert all(found[key.replace("after", "before")] == value for key, value in given.items() if "after/" in key)


@pytest.mark.slow
@pytest.mark.parametrize("phase, step", [("identification", 3), ("reconstruction", 3)])
def test_interrupted_and_started_again_ends_where_it_would_have(tuned, people, tmp_path, monkeypatch, phase, step):
    workdir, log = tmp_path / "run", workdirs.Workdir.log

    def interrupted(self, **entry):
        log(self, **entry)
        if (entry["phase"], entry["step"]) == (phase, step):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workdirs.Workdir, "log", interrupted)
        assert tune(people, workdir, *COMPARE) == 130
    assert not (workdir / weights.WORKDIR_FILE).exists() and not (workdir / "metrics.json").exists()
    assert tune(people, workdir, *COMPARE) == 0
    assert (workdir / weights.WORKDIR_FILE).read_bytes() == (tuned / weights.WORKDIR_FILE).read_bytes()
    assert steps_of(workdir) == EVERY_STEP


@pytest.mark.slow
def test_checkpoints_at_the_end_are_restored_and_nothing_trained(tuned, people, tmp_path, capsys, monkeypatch):
    workdir = tmp_path / "run"
    shutil.copytree(tuned / "checkpoints", workdir / "checkpoints")
    monkeypatch.setattr(workdirs.Workdir, "log", lambda *_, **__: pytest.fail("a step was trained"))
    assert tune(people, workdir, *COMPARE, "--evaluate") == 0
    assert "reconstruction: all 4 steps restored" in capsys.readouterr().out
    assert (workdir / weights.WORKDIR_FILE).read_bytes() == (tuned / weights.WORKDIR_FILE).read_bytes()


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_naming_the_step(people, tmp_path, capsys):
    assert tune(people, tmp_path / "run", "--pretrain_rate=1e30", "--steps=0") == 1
    assert "identification: " in (message := capsys.readouterr().err) and " at step " in message
    files = {f.name for f in (tmp_path / "run").iterdir()}
    assert files <= {"config.json", "log.jsonl", "checkpoints", "bad_batch.npz"}
    assert f"nothing of this step was saved but its batch, {tmp_path / 'run' / 'bad_batch.npz'}" in message
    with np.load(tmp_path / "run" / "bad_batch.npz") as kept:
        assert str(kept["phase"]) == "identification" and f"at step {kept['step']}: " in message
        assert kept["inputs"].shape == (4, 64, 32, 3) and kept["identities"].shape == (4,)


@pytest.mark.slow
def test_kept_outputs_of_frozen_blocks_are_shared_by_runs(people, tmp_path):
    cache = ("--frozen_blocks=2", "--frozen_views=1", f"--frozen_cache={tmp_path / 'cache'}")
    assert tune(people, tmp_path / "a", *cache) == 0
    before = contents(tmp_path / "cache")
    assert tune(people, tmp_path / "b", *cache, "--pretrain_steps=0", "--steps=0") == 0
    assert contents(tmp_path / "cache") == before
    assert tune(people, tmp_path / "c", *cache, "--mirror=0") == 1


def test_pretraining_alone(people, tmp_path):
    arguments = (
        "--dataset=folder",
        f"--data_dir={people}",
        "--width=0.03125",
        "--pretrain_steps=2",
        "--plot_every=0",
        *SMALL,
    )
    assert call(pretrain, *arguments, f"--workdir={tmp_path / 'run'}", "--patch_share=0.5") == 0
    assert metrics_of(tmp_path / "run") == {"steps": 2, "identities": 4}
    assert not (tmp_path / "run" / "report").exists()
    assert weights.load_head(tmp_path / "run")["bias"].shape == (4,)


# Bad input


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--weights=",), "weights is missing"),
        (("--weights=nowhere.npz",), "nowhere.npz.*does not exist"),
        (("--data_dir=nowhere",), "folder is not prepared in .*nowhere: run"),
        (("--dataset=folders",), "dataset 'folders' is unknown"),
        (("--methods=dsr",), "methods must be .*resizing, .*got dsr"),
        (("--methods=",), "methods must be .*got nothing"),
        (("--shots=0",), "shots must be numbers of at least 1.*got 0"),
        (("--shots=one",), "shots must be numbers"),
        (("--crop_height=0.8,0.5",), "crop_height must be two shares"),
        (("--size=64",), "size must be height,width"),
        (("--size=12,8",), "smaller than one output cell"),
        (("--subset=heldout",), "holdout must be between 1 and 3"),
        (("--subset=heldout", "--holdout=2", "--camera_rule=any"), "each probe's own image"),
        (("--workdir=",), "workdir is missing"),
        (("--coder=quick",), "coder must be"),
        (("--coder=maxsim",), "coder must be.*methods=maxsim_multi"),
        (("--l1=0",), "l1 must be"),
        (("positional",), "what is 'positional'"),
    ],
)
def test_bad_input_of_an_evaluation_writes_nothing(people, network, tmp_path, capsys, arguments, message):
    evaluated(people, network, tmp_path / "out", *arguments, code=1)
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and re.search(message, errors, re.DOTALL)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--size=24,16",), r"smallest patch of 12 x 11 pixels is below one output cell of 16 x 16"),
        (("--holdout=3",), "holdout must leave at least two of the 4"),
        (("--frozen_views=1",), "give --frozen_blocks"),
        (("--mix_styles=0.5", "--frozen_blocks=1"), "mix_styles=0.5 mixes what frozen blocks make"),
        (("--similar_people=2",), "give --images_per_identity"),
        (("--similar_people=4", "--images_per_identity=1"), "similar_people=4: .* give 3 to 3"),
        (("--weights=nowhere",), "does not exist"),
        (("--train_scales=x",), "train_scales must be whole numbers"),
        (("--width=0",), "width=0.0: pass a positive"),
        (("--distance=cosine",), "distance"),
        (("--distance=maxsim", "--gradient=implicit"), "gradient=implicit is of codes"),
        (("--verification_weight=0", "--id_loss_weight=0"), "nothing would be learnt"),
        (("--evaluate", "--methods=dsr"), "methods must be"),
        (("--subset=heldout",), "flag 'subset'"),
        (("--coder=quick",), "flag 'coder'"),
    ],
)
def test_bad_input_of_a_training_writes_nothing(people, tmp_path, capsys, arguments, message):
    assert tune(people, tmp_path / "out", *arguments) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_network_for_other_people_is_an_error(tuned, people, tmp_path, capsys):
    assert tune(people, tmp_path / "out", f"--weights={tuned}", "--holdout=1") == 1
    assert "1 were in the training of --weights, which held out 0" in capsys.readouterr().err


def test_maps_that_are_no_numbers_stop_the_evaluation(people, tmp_path, capsys):
    huge = jax.tree.map(lambda x: np.asarray(x) * np.float32(1e20), PARAMS)
    weights.save(tmp_path / "huge.safetensors", huge, weights.Card(width=1 / 32))
    evaluated(people, tmp_path / "huge.safetensors", tmp_path / "out", code=1)
    assert "hold NaN or infinity" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_workdir_of_another_configuration_stays_as_it_is(tuned, people, network, capsys):
    before = contents(tuned)
    assert tune(people, tuned, *COMPARE, "--seed=7", "--l1=0.2") == 1
    errors = capsys.readouterr().err
    assert "--seed: 0 before, 7 now" in errors and "--l1: 0.4 before, 0.2 now" in errors
    evaluated(people, network, tuned, code=1)
    assert "'finetune' before, 'evaluate' now" in capsys.readouterr().err
    assert contents(tuned) == before


@pytest.mark.slow
def test_flags_that_change_no_result_may_change(tuned, people, tmp_path):
    assert tune(people, tuned, *COMPARE, "--evaluate", "--checkpoint_every=7", "--progress") == 0


@pytest.mark.slow
def test_a_flag_that_is_new_since_had_its_default(tuned, people, tmp_path, capsys):
    workdir = tmp_path / "old"
    shutil.copytree(tuned, workdir)
    config = json.loads((workdir / "config.json").read_text())
    del config["flags"]["accumulate"], config["flags"]["milestones"]
    (workdir / "config.json").write_text(json.dumps(config))
    assert tune(people, workdir, *COMPARE, "--evaluate") == 0
    assert tune(people, workdir, *COMPARE, "--evaluate", "--accumulate=2") == 1
    assert "--accumulate: 1 before, 2 now" in capsys.readouterr().err


@pytest.mark.slow
def test_checkpoints_of_another_configuration_are_an_error(tuned, people, tmp_path, capsys):
    """Also where the workdir says nothing of it."""
    shutil.copytree(tuned / "checkpoints", tmp_path / "run" / "checkpoints")
    assert tune(people, tmp_path / "run", *COMPARE, "--evaluate", "--smoothing=0.3") == 1
    assert "belongs to another configuration (--smoothing: 0.1 before, 0.3 now)" in capsys.readouterr().err


@pytest.mark.slow
def test_weights_that_were_changed_since_are_an_error(people, network, tmp_path, capsys):
    given = shutil.copy(network, tmp_path / "vgg16.npz")
    changed = jax.tree.map(lambda x: np.asarray(x) / 2, PARAMS)
    arguments = (f"--weights={given}", "--frozen_blocks=4", "--pretrain_steps=0", "--steps=2")
    assert tune(people, tmp_path / "run", *arguments) == 0
    (tmp_path / "run" / "metrics.json").unlink()
    np.savez(given, **{f"{layer}/{name}": x for layer, leaf in changed.items() for name, x in leaf.items()})
    assert tune(people, tmp_path / "run", *arguments) == 1
    assert "belongs to another configuration (--weights' content: " in capsys.readouterr().err


@pytest.mark.parametrize("rest", ['{"phase": "reconstruction", "st', '{"phase": "identification", "step": 9}'])
def test_a_log_that_was_cut_off_goes_on_in_a_line_of_its_own(tmp_path, rest):
    workdir = workdirs.Workdir(tmp_path, {})
    workdir.log(phase="identification", step=1)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write(rest)
    workdir.forget(phase="reconstruction", after=0)
    workdir.log(phase="reconstruction", step=1)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, *([9] if rest.endswith("}") else []), 1]


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_workdir_with_a_damaged_configuration_is_an_error(people, network, tmp_path, capsys, content):
    (tmp_path / "config.json").write_text(content)
    evaluated(people, network, tmp_path, code=1)
    assert "config.json is not the JSON that a run writes" in capsys.readouterr().err


def test_a_workdir_that_is_a_file_is_an_error(people, network, capsys):
    evaluated(people, network, network, code=1)
    assert "is a file" in capsys.readouterr().err


@pytest.mark.slow
def test_unknown_flags_and_help():
    wrong, taught = start("experiments.evaluate", "--probe_scal=keep"), start("experiments.evaluate", "--help")
    output, errors = wrong.communicate(timeout=600)
    assert wrong.returncode == 1 and "Unknown command line flag 'probe_scal'" in errors + output
    assert "Did you mean: probe_scale" in errors + output and "Traceback" not in errors
    output, _ = finished(taught)
    own, shared = output.index("--shots"), output.index("--workdir:")
    assert output.startswith("Evaluation: partial probes") and own < shared


def test_the_first_identities_alone(people, network, tmp_path):
    evaluated(people, network, tmp_path / "all")
    evaluated(people, network, tmp_path / "two", "--identities=2")
    everyone, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("all", "two"))
    assert 0 < two["probes"] < everyone["probes"] and 0 < two["gallery"] < everyone["gallery"]
    assert two["resizing/shots1/rank3"] == 100


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("INTERNAL: ...callback: KeyboardInterrupt:")])
def test_an_interrupt_is_one_whoever_reports_it(error, capsys):
    def job(settings):
        raise error

    assert run.attempt(job, pretrain.Settings, []) == 130
    assert "start again with the same flags" in capsys.readouterr().err
