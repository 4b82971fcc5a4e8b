"""DSR on a shortlist: what is listed has the distances of everybody's, what is not is said to be so."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsr_jax import map_file, match, metrics, shortlist
from dsr_jax.baselines import global_average
from dsr_jax.evaluation import candidates
from dsr_jax.evaluation.candidates import Labels
from dsr_jax.matching import compiled
from dsr_jax.matching.comparison import compared
from experiments import evaluate
from experiments.evaluation import comparison, methods, reliance
from tests import oracles
from tests.people import maps
from tests.runners import call, metrics_of

SHAPES = [(4, 3), (3, 4), (5, 2), (2, 2), (6, 3), (4, 3), (3, 3), (1, 4), (4, 3)]


def gallery_maps(count=9, seed=1):
    return [maps(1, seed + i, SHAPES[i % len(SHAPES)])[0] for i in range(count)]


PROBES, GALLERY = (
    [maps(1, 50 + i, shape)[0] for i, shape in enumerate([(2, 3), (3, 3), (4, 1), (3, 2)])],
    gallery_maps(),
)


# Chosen pairs


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([(1,), (1, 2, 3)]), st.booleans())
def test_chosen_pairs_have_the_distances_of_the_whole(seed, count, scales, shots):
    labels = [i // 2 for i in range(9)] if shots else None
    how = {"scales": scales, "identities": labels, "coder": "active_set"}
    rng, entries = np.random.default_rng(seed), 5 if shots else 9
    pairs = np.stack([rng.integers(0, len(PROBES), count), rng.integers(0, entries, count)], axis=1)
    whole = match.distances(PROBES, GALLERY, scales=scales, identities=labels)
    for max_bytes in (1 << 17, 1 << 29):
        found = compared(PROBES, GALLERY, max_bytes=max_bytes, **how).engine().listed(pairs)
        for figure, name in zip(found, ("distance", "lower", "upper", "gap"), strict=True):
            np.testing.assert_allclose(figure, getattr(whole, name)[pairs[:, 0], pairs[:, 1]], atol=1e-6)


def test_pairs_that_float32_does_not_settle_are_coded_again():
    pairs = np.argwhere(np.ones((4, 9), bool))
    found = compared(PROBES, GALLERY, scales=(1, 2), coder="active_set", tol=1e-12).engine().listed(pairs)
    whole = match.distances(PROBES, GALLERY, scales=(1, 2), tol=1e-12)
    np.testing.assert_allclose(found[0].reshape(4, 9), whole.distance, atol=1e-6)
    np.testing.assert_allclose(found[3].reshape(4, 9), whole.gap, atol=1e-6)


# The list


def test_the_list_is_the_head_of_the_pooled_ranking():
    pooled = global_average.distances(PROBES, GALLERY)
    order = np.argsort(pooled, axis=1, kind="stable")
    np.testing.assert_array_equal(shortlist.nearest(pooled, 3), order[:, :3])
    np.testing.assert_array_equal(shortlist.nearest(pooled, 99), order)
    equal = np.zeros((1, 5))
    assert shortlist.nearest(equal, 3).tolist() == [[0, 1, 2]], "equal distances keep the gallery's order"


def test_who_may_not_answer_takes_no_place():
    pooled = global_average.distances(PROBES, GALLERY)
    allowed = np.random.default_rng(0).random(pooled.shape) < 0.6
    allowed[2] = False
    found = shortlist.nearest(pooled, 4, allowed)
    for p in range(4):
        expected = [g for g in np.argsort(pooled[p], kind="stable") if allowed[p, g]][:4]
        assert found[p].tolist() == expected + [shortlist.NOBODY] * (4 - len(expected))
    coded = shortlist.distances(PROBES, GALLERY, 4, allowed=allowed)
    assert np.isnan(coded.distance[2]).all() and not coded.listed[2].any()
    np.testing.assert_array_equal(coded.listed & ~allowed, False)


# The distances


@pytest.mark.parametrize("part_bytes", [1, 1 << 28])
def test_listed_entries_have_the_distances_of_the_whole(part_bytes):
    whole = match.distances(PROBES, GALLERY, scales=(1, 2))
    found = shortlist.distances(PROBES, GALLERY, 4, scales=(1, 2), part_bytes=part_bytes)
    assert found.coder == whole.coder and found.entries.shape == (4, 4)
    at = np.arange(4)[:, None], found.entries
    for name in ("distance", "lower", "upper"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name)[at], atol=1e-6)
    assert (found.lower <= found.distance).all() and (found.distance <= found.upper).all()
    assert (np.diff(found.distance, axis=1) >= 0).all(), "nearest first"
    np.testing.assert_array_equal(np.sort(found.entries, axis=1), np.sort(shortlist.nearest(found.pooled, 4), axis=1))


@pytest.mark.slow
@pytest.mark.parametrize("coder", ["homotopy", "feature_sign"])
def test_coders_of_accelerators_certify_the_same(coder):
    exact = match.distances(PROBES, GALLERY, scales=(1,))
    found = shortlist.distances(PROBES, GALLERY, 4, coder=coder, scales=(1,))
    at = np.arange(4)[:, None], found.entries
    assert found.coder == coder
    assert (found.lower <= exact.upper[at]).all() and (exact.lower[at] <= found.upper).all()
    np.testing.assert_allclose(found.distance, exact.distance[at], atol=3e-5)


@pytest.mark.parametrize("part_bytes", [1, 2000, 1 << 28])
def test_a_list_as_long_as_the_gallery_is_everybody(part_bytes):
    labels = [3, 1, 3, 2, 2, 1, 7, 8, 3]
    whole = match.distances(PROBES, GALLERY, identities=labels)
    found = shortlist.distances(PROBES, GALLERY, 50, identities=labels, part_bytes=part_bytes)
    assert found.identities == whole.identities and found.listed.all()
    np.testing.assert_allclose(found.extended, whole.distance, atol=1e-6)


def test_who_is_not_listed_comes_after_it_in_the_pooled_order():
    found = shortlist.distances(PROBES, GALLERY, 3)
    on, extended = found.listed, found.extended
    assert (on.sum(axis=1) == 3).all() and extended[on].max() <= 1 < shortlist.BEYOND <= extended[~on].min()
    for p in range(4):
        order = np.argsort(extended[p], kind="stable")
        assert order[:3].tolist() == found.entries[p].tolist()
        rest = [g for g in np.argsort(found.pooled[p], kind="stable") if not on[p, g]]
        assert order[3:].tolist() == rest


def test_several_maps_of_a_person_are_one_entry_at_their_mean_pooled_distance():
    labels = ["b", "a", "b", "c", "c", "a", "d", "d", "d"]
    found = shortlist.distances(PROBES, GALLERY, 2, identities=labels)
    each = global_average.distances(PROBES, GALLERY)
    expected = np.stack([each[:, [i for i in range(9) if labels[i] == who]].mean(axis=1) for who in "bacd"], axis=1)
    np.testing.assert_allclose(found.pooled, expected, rtol=1e-6)
    whole = match.distances(PROBES, GALLERY, identities=labels)
    np.testing.assert_allclose(found.distance, whole.distance[np.arange(4)[:, None], found.entries], atol=1e-6)


BY_HAND = {
    "stripes": lambda probe, images: of_rows(probe, np.concatenate([striped(m) for m in images])[:, 0]),
    "maxsim": lambda probe, images: oracles.maxsim(probe, images),
}


def of_rows(probe: np.ndarray, stripes: np.ndarray) -> float:
    """A row counts by its positions that are not zero."""
    means, counts = probe.astype(np.float64).sum(axis=1), probe.any(axis=2).sum(axis=1)
    cosines = means @ stripes.T / np.linalg.norm(means, axis=1)[:, None] / np.linalg.norm(stripes, axis=1)
    return float(1 - cosines.max(axis=1) @ counts / counts.sum())


def striped(feature_map: np.ndarray) -> np.ndarray:
    """Averages of 8 stripes of rows, by a loop: the first ones have a row more where they cannot be equal."""
    n, rows = min(8, len(feature_map)), iter(feature_map.astype(np.float64))
    high = [len(feature_map) // n + (i < len(feature_map) % n) for i in range(n)]
    return np.stack([np.mean([next(rows) for _ in range(h)], axis=(0, 1)) for h in high])[:, None]


@pytest.mark.parametrize("by", sorted(BY_HAND))
@pytest.mark.parametrize("labels", [None, ["b", "a", "b", "c", "c", "a", "d", "d", "d"]])
def test_lists_by_maxsim(by, labels, tmp_path):
    """Maps of 20 rows and of fewer than 8; one position of zeros; in memory and from a file, all parts small."""
    gallery = [maps(1, 70 + i, (20 if i % 2 else 5 + i, 3))[0] for i in range(9)]
    probes = [m.copy() for m in PROBES]
    gallery[3][0], probes[0][0, 0] = 0, 0
    groups = [[i] for i in range(9)] if labels is None else [[i for i in range(9) if labels[i] == k] for k in "bacd"]
    expected = np.array([[BY_HAND[by](p, [gallery[i] for i in group]) for group in groups] for p in probes])
    found = shortlist.distances(probes, gallery, 2, by=by, identities=labels)
    assert found.by == by
    np.testing.assert_allclose(found.coarse, expected, atol=2e-6)
    np.testing.assert_array_equal(np.sort(found.entries), np.sort(shortlist.nearest(found.coarse, 2)))
    whole = match.distances(probes, gallery, identities=labels)
    np.testing.assert_allclose(found.distance, whole.distance[np.arange(4)[:, None], found.entries], atol=1e-6)
    assert (found.extended[~found.listed] >= shortlist.BEYOND).all()
    with pytest.raises(AttributeError, match=f"pooled: the list was chosen by {by}"):
        _ = found.pooled
    map_file.write(tmp_path / "maps.npz", iter(gallery), identities=range(9))
    lazy = map_file.read(tmp_path / "maps.npz").maps
    again = shortlist.distances(probes, lazy, 2, by=by, identities=labels, part_bytes=1000)
    np.testing.assert_allclose(again.coarse, found.coarse, atol=1e-6)


def test_maps_of_a_file_are_read_part_by_part(tmp_path, monkeypatch):
    map_file.write(tmp_path / "maps.npz", iter(GALLERY), identities=range(9))
    lazy, held, code = map_file.read(tmp_path / "maps.npz").maps, [], compiled.Engine.listed
    monkeypatch.setattr(compiled.Engine, "listed", lambda e, *a, **k: held.append(len(e.gallery)) or code(e, *a, **k))
    found = shortlist.distances(PROBES[:1], lazy, 3, part_bytes=1000)
    assert sum(held) == 3 and max(held) < 3, "the listed ones, and not all at a time"
    np.testing.assert_array_equal(found.extended, shortlist.distances(PROBES[:1], GALLERY, 3).extended)


@pytest.mark.parametrize(
    ("k", "options", "words"),
    [
        (0, {}, "k must be a whole number >= 1, got 0"),
        (-3, {}, "k must be a whole number >= 1, got -3"),
        (2, {"coder": "ridge"}, "coder must not be 'ridge' here"),
        (2, {"by": "rows"}, "by must be one of"),
        (2, {"coder": "none"}, "coder must be 'auto' or one of"),
        (2, {"part_bytes": 0}, "part_bytes must be at least 1"),
        (2, {"allowed": np.ones((4, 8), bool)}, r"allowed must be \(4, 9\)"),
        (2, {"identities": [1]}, "identities must have one entry per gallery map"),
        (2, {"l1": 0}, "l1 must be a positive number"),
        (2, {"max_bytes": 10}, "max_bytes must be at least"),
    ],
)
def test_bad_input_is_named(k, options, words):
    with pytest.raises(ValueError, match=words):
        shortlist.distances(PROBES, GALLERY, k, **options)


def test_empty_sides_and_other_channels_are_refused():
    with pytest.raises(ValueError, match="maps on both sides, got 0 probes"):
        shortlist.distances([], GALLERY, 2)
    with pytest.raises(ValueError, match="same number of channels d, got 5 and 16"):
        shortlist.distances([PROBES[0][..., :5]], GALLERY, 2)


# Who may answer


def test_the_rule_is_that_of_the_ranking():
    rng = np.random.default_rng(0)
    probes, gallery = rng.integers(-1, 4, 30), rng.integers(-1, 4, 50)
    cameras = rng.integers(-1, 3, 30), rng.integers(-1, 3, 50)
    matrix = rng.random((30, 50))
    for rule in ("cross", "any"):
        labels = probes, gallery, *cameras
        allowed = candidates.allowed(Labels(*labels, camera_rule=rule))
        for row, mask, (kept, _) in zip(
            matrix, allowed, candidates.candidates(matrix, Labels(*labels, camera_rule=rule)), strict=True
        ):
            np.testing.assert_array_equal(row[mask], kept)
    with pytest.raises(ValueError, match="give both or neither"):
        candidates.allowed(Labels(probes, gallery, cameras[0]))


# What figures rest on


def test_what_rests_on_pooled_distances():
    rows = [(np.array([0.1, 0.2, 2.5, 2.7]), np.array([True, False, False, False])),
            (np.array([0.3, 0.1, 2.2, 2.9]), np.array([False, True, True, False])),
            (np.array([0.4, 0.5, 2.1, 2.8]), np.array([False, False, True, False]))]  # fmt: skip
    found = reliance.of([(np.arange(3), iter(rows))], 3, 2, "pooled", {"EER": 0.4, "TPR@0.1": 2.3})
    assert found.missed.tolist() == [False, False, True] and found.beyond.tolist() == [False, True, True]
    assert found.figures == ("rank3", "rank5", "rank10", "rank20", "mAP", "mINP", "TPR@0.1")
    assert found.counts["pairs_coded"] == 50 and found.counts["shortlist"] == 2
    assert "1 of 3 probes have no right answer on the list, 2 have some beyond it" in found.remarks[1]
    whole = reliance.of([(np.arange(1), [(rows[0][0][:2], rows[0][1][:2])])], 1, 2, "stripes", {"EER": 0.1})
    assert whole.figures == () and whole.remarks == [
        "the shortlist of 2 holds everybody who may answer: all pairs are coded"
    ]


# In an evaluation


def crowd(path, people=30, shots=2):
    """People with a probe, gallery images by another camera and one by the probe's own, and junk, all much alike."""
    rng = np.random.default_rng(0)
    base = rng.random((6, 3, 16), np.float32) ** 2
    own = [base + 0.7 * rng.random((6, 3, 16), np.float32) ** 4 for _ in range(people)]

    def noisy(values):
        return values + rng.normal(0, 0.15, values.shape).astype(np.float32)

    listed = [(noisy(m[1:5]), who, 0, "probe") for who, m in enumerate(own)]
    listed += [(noisy(m), who, 1, "gallery") for who, m in enumerate(own) for _ in range(shots)]
    listed += [(m[1:6], who, 0, "gallery") for who, m in enumerate(own)]  # nearest of all, and removed
    listed += [(noisy(m), -1, 1, "gallery") for m in own[:10]]
    found, identities, cameras, roles = zip(*listed, strict=True)
    map_file.write(path, list(found), identities=list(identities), cameras=list(cameras), roles=list(roles))
    return path


def evaluated(path, workdir, *arguments, code=0, chosen="global_average,dsr_single", shots="whole"):
    common = ("--trials=2", "--noprogress", f"--methods={chosen}", f"--shots={shots}", f"--workdir={workdir}")
    assert call(evaluate, f"--maps={path}", *common, *arguments) == code
    return metrics_of(workdir) if code == 0 else {}


def kept(workdir, name):
    with np.load(workdir / "distances" / f"{name}.npz") as file:
        return file["distances_0"]


FIGURES = (*(f"rank{k}" for k in metrics.RANKS), "mAP", "mINP", "EER", "TPR@0.01", "mAP_low", "rank1_high")


def test_an_evaluation_says_what_rests_on_pooled_features(tmp_path, capsys):
    path, out = crowd(tmp_path / "maps.npz"), tmp_path / "out"
    found = evaluated(path, out, "--shortlist=0,4,1000")
    text, page = capsys.readouterr().out, (out / "report" / "index.html").read_text()
    whole, short, all_of = (kept(out, f"dsr_single{end}-whole") for end in ("", "_top4", "_top1000"))
    np.testing.assert_array_equal(all_of, whole)
    for name in FIGURES:
        assert found[f"dsr_single_top1000/whole/{name}"] == found[f"dsr_single/whole/{name}"]
    assert found["dsr_single_top1000/whole/rest_on_pooled"] == ""
    # Junk and the probe's own camera take no place: four others are coded for everybody.
    file = map_file.read(path)
    probes, gallery = file.side("probe"), file.side("gallery")
    labels = probes.identities, gallery.identities, probes.cameras, gallery.cameras
    on, allowed = short < shortlist.BEYOND, candidates.allowed(Labels(*labels))
    assert (on.sum(axis=1) == 4).all() and not (on & ~allowed).any()
    np.testing.assert_allclose(short[on], whole[on], atol=1e-6)
    pooled = kept(out, "global_average-whole")
    expected = np.where(allowed, pooled, np.inf).argsort(axis=1, kind="stable")[:, :4]
    assert all(set(row) == set(np.flatnonzero(own)) for row, own in zip(expected, on, strict=True))
    np.testing.assert_allclose(short[~on], shortlist.BEYOND + pooled[~on], atol=1e-6)
    by_hand = metrics.ranks(short, *labels)
    assert found["dsr_single_top4/whole/rank1"] == pytest.approx(by_hand.cmc()[1])
    assert found["dsr_single_top4/whole/mAP"] == pytest.approx(by_hand.mAP)
    # And everywhere it is said what that means.
    assert found["dsr_single_top4/whole/shortlist"] == 4
    assert found["dsr_single_top4/whole/pairs_coded"] == pytest.approx(100 * 4 * 30 / allowed.sum())
    rest = found["dsr_single_top4/whole/rest_on_pooled"].split(",")
    assert {"rank5", "rank10", "rank20", "mAP", "mINP"} <= set(rest) and not {"rank1", "rank3"} & set(rest)
    for said in (text, page):
        assert "resting on pooled features, of what is not on the list: rank5, rank10, rank20, mAP, mINP" in said
        assert "not certified against the whole gallery" in said and "dsr_single_top4" in said
    assert json.loads((out / "config.json").read_text())["flags"]["shortlist"] == [0, 4, 1000]


@pytest.mark.parametrize("by", ["stripes", "maxsim"])
def test_an_evaluation_with_a_list_by_maxsim(tmp_path, capsys, by):
    path, out = crowd(tmp_path / "maps.npz"), tmp_path / "out"
    options = {"chosen": "dsr_single,maxsim_single"}
    found = evaluated(path, out, "--shortlist=0,4", f"--shortlist_by={by}", **options)
    title = f"dsr_single_top4_{by}"
    assert f"resting on {reliance.CALLED[by]}" in capsys.readouterr().out
    assert f"{title}/whole/rest_on_{by}" in found
    whole, short, every = (kept(out, f"{name}-whole") for name in ("dsr_single", title, "maxsim_single"))
    on = short < shortlist.BEYOND
    assert (on.sum(axis=1) == 4).all()
    np.testing.assert_allclose(short[on], whole[on], atol=1e-6)
    if by == "maxsim":
        np.testing.assert_allclose(short[~on], shortlist.BEYOND + every[~on], atol=1e-6)
    again = evaluated(path, out, "--shortlist=4", **options)
    assert "dsr_single_top4/whole/rest_on_pooled" in again, "another way is added to what was compared"


def test_another_length_is_added_to_what_was_compared(tmp_path):
    path, out = crowd(tmp_path / "maps.npz"), tmp_path / "out"
    first = evaluated(path, out, "--shortlist=4", chosen="dsr_single")
    again = evaluated(path, out, "--shortlist=4,6", chosen="dsr_single")
    assert first.items() <= again.items() and "dsr_single_top6/whole/rank1" in again


@pytest.mark.slow
@pytest.mark.parametrize("shots", ["1", "2"])
def test_lists_of_drawn_galleries(tmp_path, shots):
    path, out = crowd(tmp_path / "maps.npz"), tmp_path / "out"
    found = evaluated(path, out, "--shortlist=0,5,30", shots=shots)
    whole, short, pooled = (
        kept(out, f"{name}-shots{shots}") for name in ("dsr_single", "dsr_single_top5", "global_average")
    )
    on = short < shortlist.BEYOND
    assert whole.shape == (30, 30) and (on.sum(axis=1) == 5).all(), "people, not images"
    np.testing.assert_allclose(short[on], whole[on], atol=1e-6)
    nearest = pooled.argsort(axis=1, kind="stable")[:, :5]
    assert np.take_along_axis(on, nearest, axis=1).all()
    for name in FIGURES:
        assert found[f"dsr_single_top30/shots{shots}/{name}"] == found[f"dsr_single/shots{shots}/{name}"]


@pytest.mark.slow
def test_other_methods_compare_everybody(tmp_path):
    found = evaluated(
        crowd(tmp_path / "maps.npz"), tmp_path / "out", "--shortlist=4", chosen="ridge_single,joint_single,dsr_single"
    )
    assert {key.split("/")[0] for key in found if "/" in key} == {"ridge_single", "joint_single", "dsr_single_top4"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--shortlist=-1",), "shortlist must be a number of entries"),
        (("--shortlist=ten",), "shortlist must be a number of entries"),
        (("--shortlist=",), "shortlist must be a number of entries"),
        (("--shortlist=4", "--rerank=3,2,0.3"), "rerank compares all with all"),
        (("--shortlist=4", "--methods=joint_single,global_average"), "shortlist is for dsr_single"),
        (("--shortlist=4", "--coder=ridge"), "shortlist is for dsr_single.*coder ridge"),
        (("--shortlist=4", "--multi_shot=mean", "--shots=2"), "not multi_shot=mean"),
        (("--shortlist_by=stripes",), "shortlist_by=stripes .*--shortlist=100"),
        (("--shortlist=4", "--shortlist_by=rows"), "shortlist_by"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(tmp_path, capsys, arguments, words):
    evaluated(crowd(tmp_path / "maps.npz", people=4), tmp_path / "out", *arguments, code=1)
    assert re.search(words, capsys.readouterr().err) and not (tmp_path / "out").exists()


def test_a_joint_dictionary_that_memory_should_not_hold_is_refused_unread(tmp_path, capsys, monkeypatch):
    path = crowd(tmp_path / "maps.npz", people=5)
    monkeypatch.setattr(methods, "JOINT_BYTES", 1 << 12)
    monkeypatch.setattr(map_file.Maps, "__getitem__", lambda *_: pytest.fail("a map was read"))
    evaluated(path, tmp_path / "out", chosen="joint_single", code=1)
    assert re.search(
        r"one joint dictionary of 20 maps of the file takes 0\.0 GB.*leave the joint", capsys.readouterr().err
    )
    evaluated(path, tmp_path / "out", chosen="joint_single", shots="2", code=1)
    assert "one joint dictionary of 10 maps" in capsys.readouterr().err


def test_without_identities_of_the_probes_there_is_no_list():
    dsr = methods.named("dsr_multi", methods.Options())
    assert dsr.shortlist == 0
    assert methods.METHODS["joint_single"](methods.Options()).listed is None
    assert comparison.Result("", dsr, comparison.WHOLE, [], [], np.zeros(0)).reliance is None


@pytest.mark.parametrize("by", shortlist.BY)
def test_bad_maps_are_found_whether_they_are_listed_or_not(by):
    rng = np.random.default_rng(0)
    g = list(rng.random((6, 4, 3, 8)))
    for value, said in (
        (np.nan, "gallery_maps\\[5\\] has 1 values that are NaN"),
        (np.inf, "gallery_maps\\[5\\] has 1"),
    ):
        bad = [*g[:5], g[5].copy()]
        bad[5][0, 0, 0] = value
        with pytest.raises(ValueError, match=said):
            shortlist.distances(g[:2], bad, 2, by=by)
    with pytest.raises(ValueError, match=r"gallery_maps\[5\] of shape \(1, 1, 8\) is smaller"):
        shortlist.distances(g[:2], [*g[:5], np.ones((1, 1, 8))], 2, scales=(2,), part_bytes=1, by=by)
    with pytest.raises(ValueError, match=r"gallery_maps\[5\] has 7 channels"):
        shortlist.distances(g[:2], [*g[:5], np.ones((4, 3, 7))], 2, by=by)
    with pytest.raises(ValueError, match="same number of channels d, got 7 and 8"):
        shortlist.distances([np.ones((4, 3, 7))], g, 2, by=by)
    with pytest.raises(ValueError, match="gallery_maps must be an"):
        shortlist.distances(g[:2], match.Gallery.build(g), 2)
    assert shortlist.distances(g[0], np.stack(g), 2).entries[0, 0] == 0


def test_the_list_is_the_same_for_maps_of_any_magnitude():
    g = list(np.random.default_rng(0).random((6, 4, 3, 8)))
    expected = shortlist.distances(g[:2], g, 3)
    for own, others in ((1e300, [1] * 6), (1, [1e-30, 1e39, 1, 1e25, 1e-300, 1e300])):
        found = shortlist.distances([own * m for m in g[:2]], [f * m for f, m in zip(others, g, strict=True)], 3)
        np.testing.assert_array_equal(found.entries, expected.entries)
        np.testing.assert_allclose(found.pooled, expected.pooled, atol=1e-3)
        np.testing.assert_allclose(found.distance, expected.distance, atol=1e-5)


def test_ranks_beyond_the_list_rest_on_pooled_distances_only_where_somebody_misses_hers():
    """Of four entries two are listed; rank-3 of a probe whose right answer is listed is hers whatever follows."""
    row = np.array([0.1, 0.2, 2.3, 2.4], np.float32)
    listed_one, beyond = (np.array([i]) for i in (0, 1))
    on, off = (np.arange(4) == i for i in (1, 3))
    assert reliance.of([(listed_one, [(row, on)])], 1, 2, "pooled", {}).figures == ()
    found = reliance.of([(listed_one, [(row, on)]), (beyond, [(row, off)])], 2, 2, "pooled", {})
    assert found.figures == ("rank3", "rank5", "rank10", "rank20", "mAP", "mINP")
