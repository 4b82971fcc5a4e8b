"""Several seeds: ordinary runs in folders of their own, mean and range, going on where they were."""

import pytest

from dsr_jax import weights
from experiments import finetune, pretrain
from experiments.training import seeds

from .runners import SMALL, call, contents, metrics_of


def test_the_summary_is_mean_and_range_of_every_figure():
    found = [
        {"steps": 2, "rank1": 10.0, "rank1_low": 5.0, "none": None, "flag": True},
        {"steps": 2, "rank1": 13.0, "rank1_low": 5.0, "none": 1.0, "flag": True},
        {"steps": 2, "rank1": 19.0, "rank1_low": 5.0, "none": 1.0, "flag": True},
    ]
    figures = seeds.summary(found)
    assert figures == {
        "steps_mean": 2.0,
        "steps_min": 2.0,
        "steps_max": 2.0,
        "rank1_mean": 14.0,
        "rank1_min": 10.0,
        "rank1_max": 19.0,
    }
    table = seeds.text(figures, dict(enumerate(found))).splitlines()
    assert table[0].split() == "figure mean min max seed 0 seed 1 seed 2".split()
    assert table[-1].split() == "rank1 14.0 10.0 19.0 10.0 13.0 19.0".split()


def trained(people, workdir, *arguments, runner=pretrain, code=0):
    common = (
        "--dataset=folder",
        f"--data_dir={people}",
        "--width=0.03125",
        "--plot_every=0",
        "--pretrain_batch_size=4",
        *SMALL,
    )
    assert call(runner, *common, "--pretrain_steps=2", f"--workdir={workdir}", *arguments) == code


@pytest.mark.slow
def test_each_seed_is_an_ordinary_run_and_goes_on(people, tmp_path, capsys, monkeypatch):
    trained(people, tmp_path / "alone", "--seed=4")
    done = []

    def interrupted(workdir, start, **options):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(start)
        return finish(workdir, start, **options)

    finish = pretrain.finish
    with monkeypatch.context() as patched:
        patched.setattr(pretrain, "finish", interrupted)
        trained(people, tmp_path / "all", "--seed=3", "--seeds=2", code=130)
    assert not (tmp_path / "all" / "metrics.json").exists()
    capsys.readouterr()
    trained(people, tmp_path / "all", "--seed=3", "--seeds=2")
    output = capsys.readouterr().out
    assert "seed3 has finished" in output and "identification: all 2 steps restored" in output
    assert metrics_of(tmp_path / "all")["steps_mean"] == 2.0
    networks = [tmp_path / name / weights.WORKDIR_FILE for name in ("alone", "all/seed4", "all/seed3")]
    assert networks[0].read_bytes() == networks[1].read_bytes() != networks[2].read_bytes()
    before = contents(tmp_path / "all")
    trained(people, tmp_path / "all" / "seed4", "--seed=4")  # by itself
    trained(people, tmp_path / "all", "--seed=3", "--seeds=3", code=1)
    assert "--seeds: 2 before, 3 now" in capsys.readouterr().err and contents(tmp_path / "all") == before


@pytest.mark.slow
def test_fine_tuning_starts_each_seed_from_its_own_network(people, tmp_path, monkeypatch):
    seen = []

    def one_seed(settings):
        parts = settings.seeds, settings.network, settings.frozen, settings.place
        seen.append((parts[0].seed, parts[1].weights, parts[2].frozen_cache, parts[3].workdir))

    monkeypatch.setattr(finetune, "one_seed", one_seed)
    monkeypatch.setattr(seeds, "read_json", lambda path: {"steps": 1})
    for seed in (0, 1):
        (tmp_path / "pre" / f"seed{seed}").mkdir(parents=True)
    arguments = (f"--weights={tmp_path / 'pre'}", f"--frozen_cache={tmp_path / 'cache'}", "--seeds=3")
    trained(people, tmp_path / "fine", *arguments, runner=finetune)
    expected = [(0, "pre/seed0"), (1, "pre/seed1"), (2, "pre")]
    assert seen == [
        (seed, str(tmp_path / network), str(tmp_path / "cache" / f"seed{seed}"), str(tmp_path / "fine" / f"seed{seed}"))
        for seed, network in expected
    ]


def test_bad_input_writes_nothing(people, tmp_path, capsys):
    trained(people, tmp_path / "out", "--seeds=2", "--holdout=3", code=1)
    assert "holdout must leave" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_seed_is_none(people, tmp_path, capsys, count):
    trained(people, tmp_path / "out", f"--seeds={count}", code=1)
    assert "--seeds" in capsys.readouterr().err
