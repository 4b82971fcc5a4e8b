"""The page of a training in progress: drawn from the log, whole at any moment, readable from disk."""

import json

import pytest

from experiments import pretrain
from experiments import workdir as workdirs
from experiments.training import plots

from . import browser
from .runners import SMALL, call


def workdir(folder, entries):
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return workdirs.Workdir(folder, {"dataset": "drawn <people>", "seed": 0})


def log(steps=5):
    pairs = {"verification": -0.1, "positive_distance": 0.3, "negative_distance": 0.4, "nonzero_codes": 2, "gap": 1e-7}
    first = [{"phase": "identification", "step": n, "loss": 2 / n, "accuracy": 0.5} for n in range(1, steps + 1)]
    second = [{"phase": "reconstruction", "step": n, "loss": 1 / n, **pairs} for n in range(1, steps + 1)]
    second[-1] |= {"validation_rank1": 40.0, "validation_mAP": 50.0}
    return first + second


def test_every_figure_has_its_plot_and_none_is_drawn_without_values():
    captions = [trend.caption for trend in plots.trends(log())]
    assert captions == ["Loss", "Accuracy of the classifier", "Distances", "Validation", "Codes"] + captions[5:]
    assert captions[5:] == ["Duality gap of the codes"]
    (loss,) = [trend for trend in plots.trends([{"step": 1, "loss": 2.0}, {"step": 2, "loss": float("nan")}])]
    assert loss.traces[0].values == (2.0,)


def test_the_page_opens_from_disk_in_a_browser(tmp_path):
    plots.write(workdir(tmp_path, log()), refresh=60)
    assert [file.name for file in (tmp_path / "report").iterdir()] == [plots.FILE]
    with browser.launched() as chromium:
        with browser.visited(chromium, tmp_path / "report" / plots.FILE) as visit:
            assert visit.complaints == [] and len(visit.requests) == 1
            assert visit.page.locator("h1").inner_text() == "Training: drawn <people>"
            assert visit.page.locator("h2").all_inner_texts() == [*plots.PHASES.values(), "Configuration"]
            assert visit.page.locator(".plot svg").count() == 2 + 5
            assert "step 5" in visit.page.locator("header p").inner_text()
            assert browser.nameless(visit.page) == []
            spoken = visit.page.locator(".plot").first.get_attribute("aria-label")
            assert spoken == "sum: 2 at step 1, 0.4 at step 5."


@pytest.mark.slow
def test_a_page_that_is_over_is_read_once(tmp_path):
    for refresh, times in ((60, 1), (0, 0)):
        plots.write(workdir(tmp_path, log(1)), refresh=refresh)
        assert (tmp_path / "report" / plots.FILE).read_text().count('http-equiv="refresh"') == times


def test_an_empty_log_is_a_page_that_says_so(tmp_path):
    plots.write(workdir(tmp_path, []))
    assert "No step has been logged yet" in (tmp_path / "report" / plots.FILE).read_text()


def test_it_is_written_every_so_often_and_at_the_end(tmp_path, monkeypatch):
    written, now = [], [100.0]
    monkeypatch.setattr(plots.time, "monotonic", lambda: now[0])

    def write(workdir, *, refresh):
        written.append((now[0], refresh))
        now[0] += 1.0  # a second of drawing: 50 of training before the next

    monkeypatch.setattr(plots, "write", write)
    live = plots.Live(workdir(tmp_path, log()), seconds=10)
    for _ in range(100):
        now[0] += 1
        live.update()
    live.update(over=True)
    assert written == [(110.0, 10), (161.0, 10), (now[0] - 1, 0)]
    never = plots.Live(workdir(tmp_path, log()), seconds=0)
    never.update(over=True)
    assert len(written) == 3


@pytest.mark.slow
def test_training_leaves_it(people, tmp_path):
    arguments = ("--dataset=folder", f"--data_dir={people}", "--width=0.03125", "--pretrain_batch_size=4", *SMALL)
    assert call(pretrain, *arguments, "--pretrain_steps=2", f"--workdir={tmp_path / 'run'}") == 0
    page = (tmp_path / "run" / "report" / plots.FILE).read_text()
    assert "step 2" in page and "Gradient" in page and "Learning rate" in page
    entries = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    drawn = {name for plot in plots.PLOTS for name in plot.names}
    assert set().union(*entries) - {"phase", "step"} <= drawn, "a figure of the log that no plot shows"
