"""Table 4 from the source to its rows, on drawn people in Market-1501's layout: each flag file, but small."""

import re
from pathlib import Path

import numpy as np
import pytest

from data import synthetic
from data.builders.cropping import encoded
from data.prepare import prepare
from dsr_jax import networks, resnet, weights
from experiments import evaluate, finetune, pretrain
from experiments import workdir as workdirs

from .runners import ROOT, call, contents, metrics_of
from .trees import source

FLAG_FILES = ROOT / "experiments" / "flags"
START = Path(__file__).parent / "reference" / "resnet50_tiny.pth"  # torchvision's names, with a classifier of 5 classes
TRAINED, TESTED = (2, 7, 10, 11), (1, 3, 4)
FOLDERS = (
    ("bounding_box_train", TRAINED, (1, 2)),
    ("query", TESTED, (1,)),
    ("bounding_box_test", (*TESTED, 0, -1), (1, 2)),
)
# The last block alone is trained, on outputs of the others that are kept: what takes long is compiling.
SMALL = ("--size=64,48", "--noprogress", "--plot_every=0", "--frozen_blocks=4", "--frozen_views=1")
PRETRAIN = (*SMALL, f"--weights={START}", "--pretrain_steps=3", "--pretrain_batch_size=4", "--checkpoint_every=2")
FINETUNE = (*SMALL, "--steps=2", "--batch_size=4", "--positives=4", "--negatives=4")


def pictures():
    """Two cameras' pictures of everybody, distractors and junk, by their names in the data set."""
    crowd = {who.identity: who for who in synthetic.people(12)}

    found = {}
    for folder, people, cameras in FOLDERS:
        for n, identity in enumerate(people):
            who = crowd[max(identity, 0)]
            for camera in cameras:
                name = f"{identity if identity < 0 else f'{identity:04d}'}_c{camera}s1_00045{camera}_0{n}.jpg"
                picture = synthetic.draw(who, camera - 1, camera, height=64, width=32)
                found[f"Market-1501-v15.09.15/{folder}/{name}"] = encoded(picture)
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of the prepared data set and of both trainings, which ended as they should."""
    folder = tmp_path_factory.mktemp("market1501")
    prepare("market1501", source(folder, pictures(), "zip"), data_dir=folder / "data")
    assert run(folder, pretrain, "pretrain", *PRETRAIN) == 0
    assert run(folder, finetune, "finetune", f"--weights={folder / 'pretrain'}", *FINETUNE) == 0
    return folder


def run(folder, runner, name, *arguments, workdir=""):
    """A runner with the flag file of that name, and with further flags."""
    places = f"--data_dir={folder / 'data'}", f"--workdir={folder / (workdir or name)}"
    return call(runner, f"--flagfile={FLAG_FILES / f'market1501_{name}.flags'}", *places, *arguments)


@pytest.mark.slow
def test_the_classes_of_imagenet_are_left_out_and_the_identities_learnt(runs):
    assert weights.load_head(START)["bias"].shape == (5,)
    for name, phase in (("pretrain", "identification"), ("finetune", "reconstruction")):
        card = weights.read_card(runs / name)
        assert (card.architecture, card.output_stride, card.preprocessing) == ("resnet50", 32, "torch")
        assert card.extra["phase"] == phase and card.extra["size"] == [64, 48]
        assert weights.load_head(runs / name, classes=len(TRAINED))["kernel"].shape == (32, 4)
        before = [one["dataset"] for one in card.extra.get("earlier", ())]
        assert before == (["market1501"] if name == "finetune" else [])


@pytest.mark.slow
def test_trained_blocks_and_their_statistics_move_and_frozen_ones_stay(runs):
    before, between, after = (weights.load(path) for path in (START, runs / "pretrain", runs / "finetune"))
    for name, leaves in before.items():
        for leaf, value in leaves.items():
            for old, new in ((value, between[name][leaf]), (between[name][leaf], after[name][leaf])):
                assert np.any(old != new) == (name[5] == "5"), (name, leaf)


@pytest.mark.slow
def test_started_again_after_an_interrupt_it_ends_bit_for_bit_the_same(runs, monkeypatch):
    workdir, log = runs / "again", workdirs.Workdir.log

    def interrupted(self, **entry):
        log(self, **entry)
        if entry["step"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workdirs.Workdir, "log", interrupted)
        assert run(runs, pretrain, "pretrain", *PRETRAIN, workdir="again") == 130
    assert [int(path.name) for path in (workdir / "checkpoints" / "identification").glob("[0-9]*")] == [2]
    assert run(runs, pretrain, "pretrain", *PRETRAIN, workdir="again") == 0
    trained = {name: (runs / name / weights.WORKDIR_FILE).read_bytes() for name in ("pretrain", "again")}
    assert trained["pretrain"] == trained["again"]


@pytest.mark.slow
@pytest.mark.parametrize(("trained", "row"), [("pretrain", "softmax"), ("finetune", "dsr")])
def test_the_rows_of_table_4(runs, capsys, trained, row):
    """The benchmark's counts: junk is no entry, distractors are; and the paper's figures beside ours."""
    arguments = (f"--weights={runs / trained}", "--noprogress", "--ranked_lists=1", "--reconstructions=1")
    assert run(runs, evaluate, row, *arguments) == 0
    found, said = metrics_of(runs / row), capsys.readouterr().out
    assert (found["probes"], found["gallery"]) == (len(TESTED), 2 * len(TESTED) + 2)
    header = (FLAG_FILES / f"market1501_{row}.flags").read_text()
    rows = re.findall(r"^#   (\w+) +(?:pool5|res5c) .*?([\d.]+) / ([\d.]+)$", header, re.MULTILINE)
    assert [name for name, *_ in rows] == ["global_average"] * (row == "softmax") + ["dsr_single", "dsr_multi"]
    for method, *paper in rows:
        assert 0 <= found[f"{method}/whole/rank1"] <= 100 and 0 < found[f"{method}/whole/mAP"] <= 100
        printed = [str(float(number)) for number in paper]
        lines = [line for line in said.splitlines() if line.startswith(f"{method}/whole")]
        assert any(all(number in line for number in printed) for line in lines), (printed, lines)
    page = (runs / row / "report" / "index.html").read_text()
    assert all(str(float(number)) in page for _, *paper in rows for number in paper)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--architecture=vgg16",), "are a resnet50's and architecture=vgg16: leave --architecture out"),
        (("--holdout=1",), "1 were in the training of --weights, which held out 0"),
        (("--size=32,24",), "smallest patch of 16 x 17 pixels is below one output cell of 32 x 32"),
        (("--weights={lacking}",), "lacking.npz.*batch-norm statistics are missing"),
    ],
)
def test_bad_input_writes_nothing(runs, capsys, arguments, message):
    params, _ = resnet.split(weights.load(START))
    np.savez(runs / "lacking.npz", **{f"{layer}.{k}": x for layer, leaves in params.items() for k, x in leaves.items()})
    before = contents(runs / "pretrain")
    given = [argument.format(lacking=runs / "lacking.npz") for argument in arguments]
    assert run(runs, pretrain, "pretrain", *PRETRAIN, f"--weights={runs / 'pretrain'}", *given, workdir="bad") == 1
    assert re.search(message, capsys.readouterr().err, re.DOTALL)
    assert not (runs / "bad").exists() and contents(runs / "pretrain") == before


@pytest.mark.slow
def test_random_parameters_of_either_network_begin_a_training(runs):
    """With the classifier of as many people, in a network that `weights.load` reads."""
    arguments = ("--architecture=resnet50", "--width=0.03125", *SMALL, "--pretrain_steps=0")
    assert run(runs, pretrain, "pretrain", *arguments, workdir="random") == 0
    assert networks.architecture(weights.load(runs / "random")) == "resnet50"
    assert weights.read_card(runs / "random").width == 0.03125
