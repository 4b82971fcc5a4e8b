"""Selection of probes and gallery: cropping, scale, unknown cameras, counts of nothing, and remarks on them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import data
from data import binding
from dsr_jax import map_file
from experiments import evaluate, finetune, pretrain, sweep
from experiments.evaluation import scales
from tests.runners import SMALL, call, evaluated, listing, metrics_of, prepared
from tests.test_map_file import people as write_maps
from tests.test_map_file import run_evaluate

SHOWN = ("--methods=global_average", "--trials=1", "--ranked_lists=0", "--reconstructions=0")


def asked(data_dir, network, workdir, *arguments, runner=evaluate, code=0):
    """A runner without --partial, and what it prints."""
    common = ("--dataset=folder", f"--data_dir={data_dir}", f"--weights={network}", f"--workdir={workdir}")
    shown = SHOWN[: len(SHOWN) if runner is evaluate else 2]
    assert call(runner, *common, *SMALL, *shown, *arguments) == code
    return metrics_of(workdir) if code == 0 else {}


def page_of(workdir):
    return (Path(workdir) / "report" / "index.html").read_text().replace("&#39;", "'")


def config_of(workdir):
    return json.loads((Path(workdir) / "config.json").read_text())["flags"]


def figures(found):
    return {name: value for name, value in found.items() if "/" in name}


# Cropping


def test_every_data_set_says_what_its_probes_are():
    partial = {"partial_reid", "partial_reid_occluded", "occluded_reid", "partial_ilids", "partial_ilids_simulated"}
    own = {"folder", "identity_folders", "coco_boxes"}
    found = {kind: {name for name, b in data.DATASETS.items() if b.PROBES == kind} for kind in ("partial", "unknown")}
    assert found == {"partial": partial, "unknown": own}
    assert all(data.DATASETS[name].PROBES == "whole" for name in data.DATASETS.keys() - partial - own)


@pytest.mark.parametrize(
    ("known", "kind", "caption"),
    [
        ("whole", "crop", ", cropped to 50-75 % of the height, 70-100 % of the width, scale kept, "),
        ("partial", "none", ", partial already, not cropped, scale kept, "),
        ("unknown", "none", ", not cropped, scale kept, "),
    ],
)
def test_without_the_flag_the_data_set_says_whether_probes_are_cropped(
    people, network, tmp_path, monkeypatch, capsys, known, kind, caption
):
    monkeypatch.setattr(data.DATASETS["folder"], "PROBES", known)
    found = asked(people, network, tmp_path / "out")
    said = capsys.readouterr().out
    assert found["partial"] == kind == config_of(tmp_path / "out")["partial"]
    assert caption in said and caption in page_of(tmp_path / "out")
    guessed = "whether the probes of folder are whole is not known, so they are not cropped"
    assert (guessed in said) == (guessed in page_of(tmp_path / "out")) == (known == "unknown")
    again = asked(people, network, tmp_path / "out", f"--partial={kind}")  # the same workdir: one configuration
    assert figures(again) == figures(found) and guessed not in capsys.readouterr().out
    with np.load(tmp_path / "out" / "distances" / "global_average-shots1.npz") as file:
        first = file["distances_0"]
    asked(people, network, tmp_path / "other", f"--partial={'none' if kind == 'crop' else 'crop'}")
    with np.load(tmp_path / "other" / "distances" / "global_average-shots1.npz") as file:
        assert not np.array_equal(file["distances_0"], first)


def test_cropping_what_is_partial_already_needs_the_flag_and_is_told(people, network, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data.DATASETS["folder"], "PROBES", "partial")
    assert asked(people, network, tmp_path / "out", "--partial=crop")["partial"] == "crop"
    told = "the probes of folder are partial already: --partial=crop cuts another part out of each"
    assert told in capsys.readouterr().out and told in page_of(tmp_path / "out")
    assert "partial already, cropped to 50-75 %" in page_of(tmp_path / "out")


@pytest.mark.parametrize("flag", ["--crop_height=0.5,0.75", "--crop_width=0.5,0.6", "--crop_seed=1"])
def test_flags_of_the_crop_are_refused_where_nothing_is_cropped(people, network, tmp_path, capsys, flag):
    asked(people, network, tmp_path / "out", flag, code=1)
    error = capsys.readouterr().err
    assert f"{flag[2:].partition('=')[0]} has no effect" in error and "--partial=crop" in error
    assert not (tmp_path / "out").exists()
    vary = ("--vary=crop_height", "--values=0.4,0.4;1,1")
    asked(people, network, tmp_path / "out", *vary, runner=sweep, code=1)
    assert "vary=crop_height changes nothing where probes are not cropped" in capsys.readouterr().err
    assert asked(people, network, tmp_path / "out", flag, "--partial=crop")["partial"] == "crop"


@pytest.mark.slow
def test_a_sweep_says_what_was_done_and_what_was_varied(people, network, tmp_path, capsys):
    vary = ("--vary=crop_height", "--values=0.4,0.4;1,1", "--partial=crop")
    found = asked(people, network, tmp_path / "out", *vary, runner=sweep)
    caption = "folder, test identities, --crop_height varied, scale kept, gallery images of other cameras, mean of 1 dr"
    assert caption in capsys.readouterr().out and caption in page_of(tmp_path / "out")
    assert found["crop_height=1,1/partial"] == "crop"


def test_few_identities_and_probes_are_in_the_caption(people, network, tmp_path):
    asked(people, network, tmp_path / "out", "--identities=3", "--probes_per_identity=1")
    assert "folder, the first 3 test identities, the first 1 probes of each camera, not" in page_of(tmp_path / "out")


def test_a_workdir_of_before_goes_on(people, network, tmp_path, monkeypatch):
    """When "crop" was everybody's default, and a file of maps had it, too."""
    monkeypatch.setattr(data.DATASETS["folder"], "PROBES", "whole")
    asked(people, network, tmp_path / "out")
    write_maps(tmp_path / "maps.npz")
    run_evaluate(tmp_path / "maps.npz", tmp_path / "maps", methods="dsr_single")
    assert config_of(tmp_path / "out")["partial"] == "crop"
    assert config_of(tmp_path / "maps")["partial"] is None  # no pictures
    content = json.loads((tmp_path / "maps" / "config.json").read_text())
    content["flags"]["partial"] = "crop"
    (tmp_path / "maps" / "config.json").write_text(json.dumps(content))
    run_evaluate(tmp_path / "maps.npz", tmp_path / "maps", methods="dsr_single,global_average")


@pytest.mark.slow
def test_a_validation_says_what_it_searches_with(people, tmp_path, capsys):
    common = ("--dataset=folder", f"--data_dir={people}", "--width=0.03125", "--plot_every=0", *SMALL)
    steps = ("--pretrain_batch_size=4", "--pretrain_steps=1", "--holdout=2", "--validate_every=1")
    assert call(pretrain, *common, *steps, f"--workdir={tmp_path / 'out'}") == 0
    said = capsys.readouterr().out
    assert "validation: folder, heldout identities, not cropped, scale kept, gallery images of other cameras" in said
    assert "whether the probes of folder are whole is not known" in said
    assert config_of(tmp_path / "out")["partial"] == "none"


# Scale


def sides(shapes, cameras=0):
    shapes = np.array(shapes)
    return scales.Sides(shapes, np.broadcast_to(cameras, len(shapes)))


def compared(probes, gallery, *, own=0, others=1, rule="cross", **options):
    return scales.compared(sides(probes, own), sides(gallery, others), camera_rule=rule, **options)


def test_parts_larger_than_whole_people_are_too_large_and_parts_of_their_scale_are_not():
    assert compared([(96, 144)] * 4, [(192, 72)] * 4).too_large == (0.5, 2.0)
    assert compared([(192, 72), (96, 72), (60, 30)], [(192, 72)] * 4).too_large is None
    assert compared([(400, 60)] * 4, [(192, 72)] * 4).too_large is not None, "higher is larger, too"


def test_whole_people_of_many_sizes_are_not_too_large_for_one_another():
    rng = np.random.default_rng(0)
    probes, gallery = (np.exp(rng.normal(0, 0.25, (200, 1))) * (192, 72) for _ in range(2))
    assert compared(probes, gallery).too_large is None and compared(probes, gallery).small is None
    assert compared(2 * probes, gallery).too_large is not None and compared(0.3 * probes, gallery).small is not None
    assert compared(np.concatenate([probes, 2 * probes[:40]]), gallery).too_large is not None, "some of them"
    with_one_huge = np.concatenate([gallery, [(4000, 2000)]])
    assert compared(2 * probes, with_one_huge).too_large is not None, "whatever the largest of the gallery is"


def test_a_probe_is_beside_the_cameras_that_may_answer_it():
    gallery, cameras = [(192, 72)] * 5 + [(384, 144)] * 5, np.array([1] * 5 + [0] * 5)
    assert compared([(192, 144)] * 3, gallery, others=cameras).too_large is not None
    assert compared([(192, 144)] * 3, gallery, others=cameras, rule="any").too_large is None
    assert compared([(192, 144)] * 3, gallery, own=-1, others=cameras).too_large is None


def test_one_cell_more_is_rounding():
    assert compared([(8, 4)] * 3, [(8, 3)] * 3, cells=True).too_large is None
    assert compared([(8, 6)] * 3, [(8, 3)] * 3, cells=True).too_large is not None
    assert compared([(2, 2)] * 3, [(8, 4)] * 3, cells=True).small is None
    assert compared([(2, 1)] * 3, [(8, 4)] * 3, cells=True).small is not None


def test_a_small_part_is_no_small_scale_where_parts_are_cut_here(people, network, tmp_path, capsys):
    small = ("--crop_height=0.3,0.3", "--crop_width=0.5,0.5", "--partial=crop")
    assert asked(people, network, tmp_path / "out", *small, "--size=128,64")["probes_larger"] == 0
    assert "are small beside" not in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["global_average", "dsr_single", "resizing"])
def test_probes_larger_than_whole_people_are_told_for_every_method(tmp_path, network, capsys, method):
    folder = prepared(tmp_path, [(*row[:4], 1.0) for row in listing()])
    found = asked(folder, network, tmp_path / "out", f"--methods={method}", "--probe_factor=2")
    told = (
        "5 of 5 probes are larger than whole people of the gallery, so at another scale: give --probe_scale=width, or"
    )
    assert told in capsys.readouterr().out and told in page_of(tmp_path / "out") and found["probes_larger"] == 5
    assert "--probe_factor=1 (or less)" in page_of(tmp_path / "out")
    found = asked(folder, network, tmp_path / "width", f"--methods={method}", "--probe_scale=width")
    assert "at another scale" not in capsys.readouterr().out and found["probes_larger"] == 0
    found = asked(folder, network, tmp_path / "one", f"--methods={method}", "--probe_factor=0.5")
    said = capsys.readouterr().out
    assert "5 of 5 probes are small beside whole people of the gallery" in said and "--probe_scale=width" in said


def test_narrow_parts_brought_to_the_width_are_told_to_keep_their_scale(tmp_path, network, capsys):
    folder = prepared(tmp_path, [(*row[:4], 1.0) for row in listing()])
    narrow = ("--partial=crop", "--crop_height=1,1", "--crop_width=0.5,0.5", "--probe_scale=width")
    assert asked(folder, network, tmp_path / "out", *narrow)["probes_larger"] == 5
    assert "so at another scale: give --probe_scale=keep" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_names_the_values_whose_probes_are_too_large(tmp_path, network, capsys):
    folder = prepared(tmp_path, [(*row[:4], 1.0) for row in listing()])
    vary = ("--vary=probe_factor", "--values=1;2", "--partial=none")
    found = asked(folder, network, tmp_path / "out", *vary, runner=sweep)
    told = "probe_factor=2: 5 of 5 probes are larger than whole people of the gallery"
    assert told in capsys.readouterr().out and told in page_of(tmp_path / "out")
    assert (found["probe_factor=1/probes_larger"], found["probe_factor=2/probes_larger"]) == (0, 5)


def test_maps_of_probes_larger_than_those_of_the_gallery_are_told(tmp_path, capsys):
    maps = [np.random.default_rng(i).random((4, side, 8)) for i, side in enumerate([6] * 3 + [3] * 3)]
    roles = ["probe"] * 3 + ["gallery"] * 3
    map_file.write(tmp_path / "m.npz", maps, identities=[0, 1, 2] * 2, cameras=[0] * 3 + [1] * 3, roles=roles)
    found = run_evaluate(tmp_path / "m.npz", tmp_path / "out", methods="dsr_single")
    told = "3 of 3 probes are larger than whole people of the gallery, so at another scale: bring their pictures to"
    assert told in capsys.readouterr().out and told in page_of(tmp_path / "out") and found["probes_larger"] == 3


# Cameras that nobody knows


def test_cameras_that_nobody_knows_are_in_the_caption(tmp_path, network, capsys):
    found = asked(prepared(tmp_path, listing(), cameras=False), network, tmp_path / "out")
    told = "cameras unknown: pictures of the probe's own camera may count as right"
    assert told in capsys.readouterr().out and told in page_of(tmp_path / "out")
    assert (found["probe_cameras_unknown"], found["gallery_cameras_unknown"], found["camera_rule"]) == (5, 5, "cross")
    asked(tmp_path / "data", network, tmp_path / "any", "--camera_rule=any")
    said = capsys.readouterr().out
    assert told not in said and "gallery images of any camera" in said


def test_cameras_of_which_some_are_unknown_are_counted_in_the_caption(tmp_path, capsys):
    write_maps(tmp_path / "maps.npz", cameras=[-1] * 2 + [0] * 4 + [1] * 5 + [-1])
    found = run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single")
    told = (
        "maps of maps.npz, gallery images of other cameras where known (unknown of 2 of 6 probes, 1 of 6 gallery "
        "images: pictures of the probe's own camera may count as right)"
    )
    assert told in capsys.readouterr().out and told in page_of(tmp_path / "out")
    assert (found["probe_cameras_unknown"], found["gallery_cameras_unknown"]) == (2, 1)


# Maps need no data set


def test_maps_need_no_data_set(tmp_path, monkeypatch):
    write_maps(tmp_path / "maps.npz")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", methods="dsr_single")
    assert not list((tmp_path / "here").iterdir())
    Path("datasets").touch()  # nothing can be drawn there
    run_evaluate(tmp_path / "maps.npz", tmp_path / "other", methods="dsr_single")


@pytest.mark.parametrize(
    "flag", ["--data_dir=datasets", "--data_dir=elsewhere", "--dataset=synthetic", "--crop_seed=0"]
)
def test_flags_of_a_data_set_are_refused_beside_maps_whatever_they_say(tmp_path, capsys, flag):
    write_maps(tmp_path / "maps.npz")
    run_evaluate(tmp_path / "maps.npz", tmp_path / "out", flag, methods="dsr_single", code=1)
    assert f"{flag[2:].partition('=')[0]} has no effect on the maps of a file" in capsys.readouterr().err


@pytest.mark.parametrize("runner", [pretrain, finetune, sweep])
def test_other_runners_have_no_flag_for_maps(runner):
    assert "maps" in binding.names(evaluate.Settings) and "maps" not in binding.names(runner.Settings)


@pytest.mark.parametrize("flag", ["--maps=x.npz", "--ranked_lists=2", "--reconstructions=2", "--paper=partial_reid"])
def test_a_sweep_has_no_flags_without_effect(tmp_path, capsys, flag):
    assert call(sweep, flag, f"--workdir={tmp_path / 'out'}", "--noprogress") == 1
    assert flag[2:].partition("=")[0] in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("runner", [evaluate, sweep])
def test_without_weights_nothing_is_drawn(tmp_path, monkeypatch, capsys, runner):
    monkeypatch.chdir(tmp_path)
    vary = ("--vary=l1", "--values=0.2;0.4") if runner is sweep else ()
    assert call(runner, "--workdir=out", "--noprogress", *vary) == 1
    assert "weights is missing" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_is_drawn_is_told_once(tmp_path, monkeypatch, capsys):
    drawn = data.DATASETS["synthetic"].listing
    monkeypatch.setattr(data.DATASETS["synthetic"], "listing", lambda _, source: drawn(Path("people=7,images=1")))
    data.load("synthetic", "probe", data_dir=tmp_path)
    assert f"synthetic is drawn into {tmp_path / 'synthetic'}" in capsys.readouterr().out
    data.load("synthetic", "gallery", data_dir=tmp_path)
    assert not capsys.readouterr().out


# Counts of nothing


@pytest.mark.parametrize(
    ("listed", "arguments", "message"),
    [
        (
            [("p.png", -1, 0, "probe", 1.0), ("g.png", 1, 1, "gallery", 1.0)],
            (),
            "all 1 probe images are of nobody .identity -1.",
        ),
        (
            [("p.png", 1, 0, "probe", 1.0), ("g.png", -1, 1, "gallery", 1.0)],
            (),
            "all 1 gallery images are of nobody .identity -1.",
        ),
        (listing(probes=(1, 2), gallery=(2, 3)), ("--identities=1",), "identities=1 chooses among them: give more"),
        (listing(probes=(1,), gallery=(2, 3)), (), "1 probes of 1 identities, 2 gallery images of 2 identities, 0 sh"),
        (listing(cameras=(1, 1)), (), "5 shared identities, 0 probes .*within one camera"),
        (
            [*listing(), *((f"t{i}.png", 7, i % 2, "train", 1.0) for i in range(3))],
            ("--subset=heldout", "--holdout=1"),
            "folder/train has 1 people in 3 images.*subset=heldout searches among",
        ),
    ],
)
def test_what_cannot_be_searched_is_counted(tmp_path, network, capsys, listed, arguments, message):
    asked(prepared(tmp_path, listed), network, tmp_path / "out", *arguments, code=1)
    assert re.search(message, capsys.readouterr().err) and not (tmp_path / "out").exists()


def test_one_person_to_train_on_is_counted(tmp_path, capsys):
    folder = prepared(tmp_path, [(f"t{i}.png", 7, i % 2, "train", 1.0) for i in range(3)])
    arguments = ("--dataset=folder", f"--data_dir={folder}", f"--workdir={tmp_path / 'out'}", "--width=0.03125", *SMALL)
    assert call(pretrain, *arguments) == 1
    message = "folder/train has 1 people in 3 images, those of nobody not counted, and training tells"
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_an_evaluation_with_the_flag_is_as_before(people, network, tmp_path):
    assert evaluated(people, network, tmp_path / "out", "--methods=resizing")["partial"] == "none"
