"""A gallery with a calibration: probabilities of hits, nobody in it, files, other distances are refused."""

import dataclasses
import inspect

import numpy as np
import pytest

from dsr_jax import calibration, match, shortlist

PEOPLE = 30


def drawn(seed, count=PEOPLE):
    """Whole maps of people, and parts of them seen through noise."""
    rng = np.random.default_rng(seed)
    whole = rng.random((count, 6, 3, 16)) ** 3
    return [m[1:5] + 0.15 * rng.random((4, 3, 16)) for m in whole], list(whole)


PROBES, WHOLE = drawn(0)
STRANGERS, STRANGER_MAPS = drawn(1)[0], drawn(2, 1)[1]
LABELS = [f"{i:02}" for i in range(PEOPLE)]


def fitted(method="isotonic", **how):
    distances = match.distances(PROBES, WHOLE, **how).distance
    about = calibration.settings(how.get("coder", "auto"), **{k: v for k, v in how.items() if k != "coder"})
    return calibration.fit(distances, np.eye(PEOPLE, dtype=bool), method=method, fitted_on=about)


FITTED = fitted()
FITTED_ON, SAME = match.distances(PROBES, WHOLE).distance, np.eye(PEOPLE, dtype=bool)


@pytest.mark.parametrize("saved", [False, True])
def test_hits_have_the_probabilities_of_their_distances(tmp_path, saved):
    gallery = match.Gallery.build(WHOLE, identities=LABELS, calibration=FITTED)
    if saved:
        gallery.save(tmp_path / "gallery.npz")
        gallery = match.Gallery.load(tmp_path / "gallery.npz")
    hits = match.search(PROBES[3], gallery, k=5)
    assert hits.identities[0] == "03" and hits.probability.shape == (5,) and np.all(np.diff(hits.probability) <= 0)
    np.testing.assert_array_equal(hits.probability, FITTED.probability(hits.distance, entries=PEOPLE))
    assert hits.probability[0] > 0.9 and hits.probability[-1] < 0.1
    assert hits.first_probability == FITTED.first_probability(hits.distance)[0] > 0.9


def test_strangers_are_nobody():
    gallery = match.Gallery.build(WHOLE, calibration=FITTED)
    found = [match.search(probe, gallery, k=1) for probe in STRANGERS]
    assert np.mean([hits.nobody(0.1) for hits in found]) > 0.7
    assert not any(match.search(probe, gallery, k=1).nobody(0.1) for probe in PROBES)
    threshold = FITTED.threshold(0.1, entries=PEOPLE)
    assert [hits.nobody(0.1) for hits in found] == [bool(hits.distance[0] > threshold) for hits in found]
    with pytest.raises(ValueError, match="false_positive_rate=0.01"):
        found[0].nobody()  # of 30 probes nobody knows one in a hundred


def test_without_a_calibration_there_is_no_probability():
    hits = match.search(PROBES[0], WHOLE, k=2)
    assert hits.probability is None and hits.first_probability is None
    with pytest.raises(ValueError, match="nobody needs a calibration"):
        hits.nobody(0.1)
    gallery = match.Gallery.build(WHOLE, calibration=FITTED).calibrated(None)
    assert match.search(PROBES[0], gallery, k=2).probability is None


def test_pairs_without_probes_give_probabilities_alone():
    pairs = calibration.fit(match.distances(PROBES, WHOLE).distance.ravel(), np.eye(PEOPLE, dtype=bool).ravel())
    hits = match.search(PROBES[0], match.Gallery.build(WHOLE, calibration=pairs), k=2)
    np.testing.assert_array_equal(hits.probability, pairs.probability(hits.distance))
    assert hits.first_probability is None
    with pytest.raises(ValueError, match="fitted on pairs without their probes"):
        hits.nobody(0.1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"l1": 0.3}, r"belongs to l1=0\.4 and is asked for l1=0\.3"),
        ({"coder": "maxsim"}, "belongs to distance='lasso' and is asked for distance='cosine'"),
        ({"probe_weights": "norm"}, "belongs to probe_weights='equal' and is asked for probe_weights='norm'"),
        ({"probe_weights": np.eye(4, 3)}, "is asked for probe_weights='given'"),
        ({"probe_scales": (1,)}, r"belongs to probe_scales=\[1, 2, 3\] and is asked for probe_scales=\[1\]"),
    ],
)
def test_a_search_by_another_distance_is_refused(how, message):
    gallery = match.Gallery.build(WHOLE, calibration=FITTED)
    with pytest.raises(ValueError, match=message):
        match.search(PROBES[0], gallery, **how)
    assert match.search(PROBES[0], gallery, coder="homotopy", k=1).probability is not None, "another solver is not"


def test_a_gallery_of_other_scales_is_refused():
    with pytest.raises(ValueError, match=r"belongs to scales=\[1, 2, 3\] and is asked for scales=\[1\]"):
        match.Gallery.build(WHOLE, scales=(1,), calibration=FITTED)
    with pytest.raises(ValueError, match="is asked for pooling='max'"):
        match.Gallery.build(WHOLE, pooling="max").calibrated(FITTED)


def test_equal_weights_are_equal_and_given():
    ones = np.ones((4, 3))
    gallery = match.Gallery.build(WHOLE, calibration=FITTED)
    assert match.search(PROBES[0], gallery, k=1, probe_weights=ones).probability is not None
    given = calibration.fit(FITTED_ON, SAME, fitted_on=calibration.settings("auto", probe_weights="given"))
    gallery = gallery.calibrated(given)
    for weights in (ones, np.eye(4, 3)):
        assert match.search(PROBES[0], gallery, k=1, probe_weights=weights).probability is not None
    with pytest.raises(ValueError, match="probe_weights='norm'"):
        match.search(PROBES[0], gallery, k=1, probe_weights="norm")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"dictionary": "joint"}, "belongs to dictionary='joint' and is asked for dictionary='image'"),
        ({"images_per_entry": 1}, "belongs to images_per_entry=1 and is asked for images_per_entry=2"),
        ({"images_per_entry": 2, "multi_shot": "mean"}, "belongs to multi_shot='mean' and is asked for multi_shot="),
    ],
)
def test_a_calibration_of_other_entries_is_refused(how, message):
    other = calibration.fit(FITTED_ON, SAME, fitted_on=calibration.settings("auto", **how))
    gallery = match.Gallery.build(WHOLE, identities=[*LABELS[:-1], LABELS[0]], calibration=other)
    with pytest.raises(ValueError, match=message):
        match.search(PROBES[0], gallery)
    same = calibration.fit(FITTED_ON, SAME, fitted_on=calibration.settings("auto", images_per_entry=2))
    assert match.search(PROBES[0], gallery.calibrated(same), k=1).probability is not None


def test_a_threshold_is_not_rounded_to_the_distance():
    """The threshold below a tie lies between two numbers of float32."""
    fitted = calibration.fit([[0.1, 0.5], [0.1, 0.5]], [[True, False], [True, False]])
    assert fitted.threshold(0.5) == np.nextafter(0.5, 0)
    of = {"distance": np.float32([0.5]), "calibration": fitted, "searched": 1}
    hits = dataclasses.replace(match.search(PROBES[0], WHOLE, k=1), **of)
    assert hits.nobody(0.5)


def test_a_search_through_stages_is_one_of_the_whole_gallery():
    """The last stage compares 5 of 29 entries, each of one map; one that it does not has two."""
    two = calibration.fit(FITTED_ON, SAME, fitted_on=calibration.settings("auto", images_per_entry=2))
    gallery = match.Gallery.build(WHOLE, identities=[*LABELS[:-1], LABELS[-2]], calibration=two)
    found = shortlist.search(PROBES[3], gallery, 2, whole=4, first=20, second=5)
    assert [stage.entries for stage in found.stages] == [29, 20, 5] and found.hits.searched == 29
    np.testing.assert_array_equal(found.hits.probability, two.probability(found.hits.distance, entries=29))
    one = calibration.fit(FITTED_ON, SAME, fitted_on=calibration.settings("auto", images_per_entry=1))
    for how, message in (({}, "images_per_entry=2"), ({"l1": 0.3}, "l1=0.3")):
        with pytest.raises(ValueError, match=message):
            shortlist.search(
                PROBES[3], gallery.calibrated(one if not how else two), 2, whole=4, first=20, second=5, **how
            )


def test_a_file_is_no_calibration(tmp_path):
    FITTED.save(tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"calibration must be .* calibration\.load\(path\)"):
        inspect.unwrap(match.Gallery.calibrated)(match.Gallery.build(WHOLE), str(tmp_path / "x.json"))


def test_maxsim_has_a_calibration_of_its_own():
    gallery = match.Gallery.build(WHOLE, calibration=fitted(coder="maxsim"))
    assert match.search(PROBES[3], gallery, k=1, coder="maxsim", l1=0.1).probability[0] > 0.9


# On disk


NETWORK = {"sha256": "0b1c", "preprocessing": "torch", "size": [96, 48]}


def stored(folder, **options):
    cameras = [i % 2 for i in range(PEOPLE)]
    how = {"names": [f"{i}.png" for i in range(PEOPLE)], "identities": LABELS, "cameras": cameras, "dtype": "float32"}
    return match.Gallery.create(folder / "people", iter(WHOLE), **how | options)


def test_a_gallery_on_disk_keeps_its_calibration(tmp_path):
    gallery = stored(tmp_path)
    calibrated = gallery.calibrated(FITTED)
    assert gallery.calibration is None and calibrated.version == gallery.version + 1
    opened = match.Gallery.open(tmp_path / "people").add(STRANGER_MAPS, names=["new.png"], identities=["new"])
    hits = match.search(PROBES[3], opened, k=5)
    assert hits.searched == PEOPLE + 1
    np.testing.assert_array_equal(hits.probability, FITTED.probability(hits.distance, entries=PEOPLE + 1))
    assert hits.first_probability > 0.9 and not hits.nobody(0.1)
    opened.save(tmp_path / "gallery.npz")
    assert match.Gallery.load(tmp_path / "gallery.npz").calibration.text == FITTED.text
    assert opened.calibrated(None).calibration is None and opened.refresh().notes == {}


@pytest.mark.parametrize("whole", [5, 100])
def test_a_search_through_stages_writes_nothing(tmp_path, whole):
    calibrated = stored(tmp_path).calibrated(FITTED)
    found = shortlist.search(PROBES[3], calibrated, k=2, whole=whole, first=20, second=8)
    assert found.hits.probability is not None and calibrated.part([1, 2]).calibration is None
    assert calibrated.refresh().version == calibrated.version and calibrated.refresh().calibration.text == FITTED.text


def test_a_filter_keeps_the_calibration(tmp_path):
    some = stored(tmp_path).calibrated(FITTED).where(cameras=[1])
    hits = match.search(PROBES[3], some, k=2)
    assert hits.identities[0] == "03" and hits.searched == PEOPLE // 2
    np.testing.assert_array_equal(hits.probability, FITTED.probability(hits.distance, entries=PEOPLE // 2))


@pytest.mark.parametrize("on_disk", [False, True])
def test_probabilities_after_stages_are_those_among_all_entries(tmp_path, on_disk):
    gallery = stored(tmp_path) if on_disk else match.Gallery.build(WHOLE, identities=LABELS)
    logistic = fitted("logistic")
    found = shortlist.search(PROBES[3], gallery.calibrated(logistic), k=2, whole=5, first=20, second=8)
    assert found.stages[-1].entries == 8 and found.hits.searched == PEOPLE
    expected = logistic.probability(found.hits.distance, entries=PEOPLE)
    np.testing.assert_array_equal(found.hits.probability, expected)
    assert (expected < logistic.probability(found.hits.distance, entries=8)).any(), "a stage is another gallery"


def test_a_calibration_of_another_network_is_refused_on_disk(tmp_path):
    gallery = stored(tmp_path, network=NETWORK)
    for about in ({"network": "77"}, {"size": [128, 64]}, {"preprocessing": "caffe"}):
        other = calibration.fit([0.1, 0.2], [True, False], fitted_on=about)
        with pytest.raises(ValueError, match=f"belongs to {next(iter(about))}="):
            gallery.calibrated(other)
    same = calibration.fit([0.1, 0.2], [True, False], fitted_on={"network": "0b1c", "size": (96, 48)})
    assert gallery.calibrated(same).calibration.text == same.text
    with pytest.raises(ValueError, match=r"belongs to scales=\[1\]"):
        gallery.calibrated(calibration.fit([0.1, 0.2], [True, False], fitted_on={"scales": (1,)}))


def test_a_note_that_is_no_calibration_is_named(tmp_path):
    gallery = stored(tmp_path).note("calibration", {"threshold": 0.3})
    with pytest.raises(ValueError, match=r"note 'calibration' of gallery .*people.*calibrated"):
        match.search(PROBES[0], gallery)
