"""Recall of shortlists: first answers and their places by hand, in an evaluation, bad input."""

import numpy as np
import pytest

from dsr_jax import map_file, shortlist
from dsr_jax.evaluation import protocols
from experiments import evaluate
from experiments.evaluation import comparison, features, methods, recall
from tests.people import maps
from tests.runners import call, evaluated, listing, prepared

DSR = methods.named("dsr_multi", methods.Options())


def trial(number, probes, identities, **more):
    images = tuple(np.array([g]) for g in range(len(identities)))
    return protocols.Trial(
        number, -1, np.array(probes), protocols.Draw(np.array(identities), images, (), ()), "any", **more
    )


def test_shares_are_counted_by_hand():
    """25 entries: the nearest by DSR is at the coarse place 0, 9, 10 and 24 of four probes."""
    exact, near = np.tile(np.linspace(1, 2, 25), (4, 1)), np.tile(np.linspace(1, 2, 25), (4, 1))
    for p, at in enumerate((0, 9, 10, 24)):
        exact[p, at] = 0
    trials = [trial(0, range(4), range(25)), trial(1, range(4), range(25))]
    result = comparison.Result("", DSR, 1, trials, [exact, exact], np.arange(4))
    found = recall.of(result, [near, near[:, ::-1]], "pooled")  # from behind the places are 24, 15, 14 and 0
    assert {length: figure.value for length, figure in found.figures.items()} == {10: 37.5, 20: 87.5 - 12.5}
    part = recall.part([found])
    assert part.metrics["dsr_multi/shots1/recall_pooled@10"] == 37.5
    assert "dsr_multi/shots1/recall_pooled@50" not in part.metrics
    assert part.table.rows[0].cells[2:] == (None, None), "a list as long as the gallery holds everybody"
    assert "dsr_multi/shots1 by pooled" in part.text


def test_entries_that_may_not_answer_take_no_place():
    exact, near = np.array([0.0, 0.1, 0.2]), np.array([0.0, 0.5, 0.5])
    assert recall.place(exact, near, np.array([False, True, True])) == 0
    assert recall.place(exact, near[::-1], np.array([True, True, True])) == 1
    assert recall.place(np.array([0.3, 0.2, 0.1]), near, np.array([True, True, True])) == 2, "ties: gallery order"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("by", shortlist.BY)
def test_coarse_distances_are_those_of_a_shortlist(by, masked):
    sides, entries = features.Given(maps(3, 0, (2, 3)), maps(6, 1)), [[0, 1], [4], [2, 3, 5]]
    images, probes = [0, 1, 4, 2, 3, 5], np.array([2, 0])
    plain = recall.method(by).compare(sides, probes, entries)
    seen: dict = {}
    if masked:
        rng = np.random.default_rng(2)
        each = [[rng.permutation(m.shape[0] * m.shape[1]).reshape(m.shape[:2]) > 2 for m in side] for side in sides[:2]]
        sides = sides._replace(masks=tuple(each))
        seen = {"probe_masks": [each[0][p] for p in probes], "gallery_masks": [each[1][g] for g in images]}
    labels = [0, 0, 1, 2, 2, 2]
    own, gallery = [sides.probe[p] for p in probes], [sides.gallery[g] for g in images]
    expected = shortlist.distances(own, gallery, 2, by=by, identities=labels, scales=(1,), **seen)
    found = recall.method(by).compare(sides, probes, entries)
    np.testing.assert_allclose(found, expected.coarse, atol=1e-6)
    assert masked == bool(np.abs(found - plain).max() > 1e-3)


def test_an_evaluation_counts_first_answers(tmp_path, network, monkeypatch):
    monkeypatch.setattr(recall, "LENGTHS", (1, 2, 3, 50))
    folder, asked = prepared(tmp_path, listing()), ("--methods=dsr_single,resizing", "--shortlist_recall")
    found = evaluated(folder, network, tmp_path / "out", *asked)
    distances = {}
    for name in ("dsr_single", "shortlist_pooled", "shortlist_stripes", "shortlist_maxsim"):
        with np.load(tmp_path / "out" / "distances" / f"{name}-shots1.npz") as file:
            distances[name] = file["distances_0"]
    first = distances["dsr_single"].argmin(axis=1)
    for by in shortlist.BY:
        order = np.argsort(distances[f"shortlist_{by}"], axis=1)
        for length in (1, 2, 3):
            expected = 100 * np.mean([one in row for one, row in zip(first, order[:, :length], strict=True)])
            assert found[f"dsr_single/shots1/recall_{by}@{length}"] == pytest.approx(expected)
    text = (tmp_path / "out" / "report" / "index.html").read_text()
    assert recall.CAPTION in text and "dsr_single/shots1 by stripes" in (tmp_path / "out" / "tables.txt").read_text()


@pytest.mark.parametrize("methods", ["--methods=resizing", "--methods=maxsim_multi,global_average"])
def test_without_exhaustive_dsr_there_are_no_first_answers(people, network, tmp_path, capsys, methods):
    evaluated(people, network, tmp_path / "out", methods, "--shortlist_recall", code=1)
    assert "shortlist_recall counts the first answers" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_shortlists_know_one_dictionary_per_person_alone(people, network, tmp_path, capsys):
    asked = ("--methods=dsr_single", "--shortlist_recall", "--shots=2", "--multi_shot=minimum")
    evaluated(people, network, tmp_path / "out", *asked, code=1)
    assert "shortlist_recall codes" in (error := capsys.readouterr().err) and "multi_shot=minimum" in error
    assert not (tmp_path / "out").exists()


def test_masks_of_a_file_of_maps_count_in_its_shortlists(tmp_path):
    rng = np.random.default_rng(3)
    each = maps(6, 1) + maps(6, 2)
    masks = [rng.permutation(12).reshape(4, 3) > 5 for _ in each]
    labels = {"identities": [*range(6)] * 2, "roles": ["probe"] * 6 + ["gallery"] * 6}
    map_file.write(tmp_path / "maps.npz", each, masks=masks, **labels)
    common = (f"--maps={tmp_path / 'maps.npz'}", f"--workdir={tmp_path / 'out'}", "--noprogress", "--shots=whole")
    assert call(evaluate, *common, "--methods=dsr_single", "--shortlist_recall") == 0
    for by in shortlist.BY:
        how = {"probe_masks": masks[:6], "gallery_masks": masks[6:], "scales": (1,)}
        expected = shortlist.distances(each[:6], each[6:], 2, by=by, **how).coarse
        with np.load(tmp_path / "out" / "distances" / f"shortlist_{by}-whole.npz") as file:
            np.testing.assert_allclose(file["distances_0"], expected, atol=1e-6)
