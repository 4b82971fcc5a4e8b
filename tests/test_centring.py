"""Centring by cameras: the mean of a camera's pictures is taken off, in the library and by `--centred`."""

import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import centring
from experiments import evaluate
from experiments.evaluation import centred, features, looks
from tests.people import NETWORK, SIZE, drawn
from tests.runners import call, evaluated


def values(count, seed=0, shape=(3, 2, 5)):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) + 3 for _ in range(count)]


def test_nothing_is_left_of_a_mean_and_masked_positions_stay_zero():
    maps, cameras = [*values(3), *values(2, 1, (1, 4, 5))], ["a", "b", "a", "b", "b"]
    maps[2][0, 1] = 0
    found = centring.centred(maps, cameras)
    assert not found[2][0, 1].any() and all(each.dtype == np.float32 for each in found)
    for camera in "ab":
        rows = [x.reshape(-1, 5) for x, c in zip(found, cameras, strict=True) if c == camera]
        seen = np.concatenate(rows)[np.concatenate(rows).any(axis=1)]
        np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-6)
        # By hand: every position that is not zero counts once.
        own = np.concatenate([x.reshape(-1, 5) for x, c in zip(maps, cameras, strict=True) if c == camera])
        expected = own.sum(axis=0, dtype=np.float64) / own.any(axis=1).sum()
        np.testing.assert_allclose(centring.means(maps, cameras)[camera], expected, rtol=1e-6)
    assert maps[0].mean() > 1, "what was given is not changed"


def test_a_shift_that_all_pictures_of_a_camera_share_makes_no_difference():
    maps, cameras = values(6), [1, 2] * 3
    shifted = [x + np.float32(7) * (c == 2) for x, c in zip(maps, cameras, strict=True)]
    for plain, other in zip(centring.centred(maps, cameras), centring.centred(shifted, cameras), strict=True):
        np.testing.assert_allclose(plain, other, atol=1e-5)


def test_integers_and_halves_are_centred_as_the_numbers_that_they_are():
    maps = [np.array([[[0, 2], [1, 3]]]), np.array([[[1, 2], [1, 4]]])]
    expected = centring.centred([x.astype(np.float32) for x in maps], "aa")
    for kind in (np.int64, np.uint8, np.float16, jnp.bfloat16):
        found = centring.centred([x.astype(kind) for x in maps], "aa")
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_vectors_and_means_of_other_pictures():
    vectors, cameras = values(4, shape=(5,)), [0, 0, 1, 1]
    of = centring.means(vectors, cameras)
    (alone,) = centring.centred(vectors[:1], [0], of)
    np.testing.assert_allclose(alone, (vectors[0] - vectors[1]) / 2, atol=1e-6)
    assert centring.few([0] * 10 + [1] * 9) == {1: 9}


@pytest.mark.parametrize(
    ("maps", "cameras", "of", "message"),
    [
        (values(2), [1], None, "one per map, got 1 for 2"),
        (values(2), [1, 2], None, "camera 1 has a single picture"),
        ([np.zeros((2, 2, 5), np.float32)] * 2, [1, 1], None, "camera 1 are zero everywhere"),
        ([np.full((2, 2, 5), np.nan, np.float32)] * 2, ["hall"] * 2, None, "camera 'hall' have maps with NaN"),
        ([*values(1), *values(1, shape=(3, 2, 4))], [1, 1], None, r"the same d, got shapes \(3, 2, 5\), \(3, 2, 4\)"),
        (values(2, shape=(3, 5)), [1, 1], None, r"maps \(h, w, d\) or vectors \(d,\)"),
        (values(2), [1, 2], {1: np.zeros(5)}, "camera 2 has no mean, there are those of 1"),
        (values(2), [1, 1], {1: np.zeros(1)}, r"the means have shape \(1,\), the features \(5,\)"),
    ],
)
def test_what_cannot_be_centred_is_named(maps, cameras, of, message):
    with pytest.raises(ValueError, match=message):
        centring.centred(maps, cameras, of)


def test_each_side_is_centred_by_its_own_pictures_whatever_is_drawn():
    probes, gallery = drawn([(40, 33)] * 2, [0, 1], [0, 0]), drawn([SIZE] * 4, [0, 1, 2, 3], [1, 1, 2, 2])
    (seen,) = looks.sides((looks.Look(),), NETWORK, probes, gallery, [0], centred="camera")
    plain = features.Features(NETWORK, probes, gallery, range(4))
    for side, cameras in (("probe", [0, 0]), ("gallery", [1, 1, 2, 2]), ("resized", [0, 0])):
        for mine, expected in zip(getattr(seen, side), centring.centred(getattr(plain, side), cameras), strict=True):
            np.testing.assert_allclose(mine, expected, atol=1e-5)
    fewer = seen.with_probes(probes._replace(pictures=[picture[:16] for picture in probes.pictures]))
    assert fewer.gallery is seen.gallery and fewer.probe[0].shape[0] < seen.probe[0].shape[0]
    said = " ".join(centred.remarks(probes, gallery, "camera"))
    assert (
        "all 4 gallery images" in said and "few probe pictures, which take of the people as well: cameras 0 (2)" in said
    )


def test_what_is_masked_is_in_no_mean():
    probes, gallery = drawn([SIZE] * 2, [0, 1], [0, 0]), drawn([SIZE] * 2, [0, 1], [1, 1])
    maps, masks = values(2), [np.ones((3, 2), bool) for _ in range(2)]
    masks[1][0, 1] = False
    expected = centring.centred([maps[0], maps[1] * masks[1][:, :, None]], [0, 0])
    maps[1][0, 1] = 1e3
    found = centred.Centred(features.Given(maps, values(2, 1), masks=(masks, None)), probes, gallery, "camera").probe
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_pattern_says_the_camera_where_the_protocol_does_not(people, network, tmp_path, capsys):
    asked = ("--methods=maxsim_single,global_average", "--trials=1", "--partial=crop")
    matrices = {}
    for name, flags in (("plain", ()), ("camera", ("--centred=camera",)), ("names", ("--centred=^(probe|gallery)",))):
        out = tmp_path / name
        evaluated(people, network, out, *asked, *flags)
        with np.load(out / "distances" / "maxsim_single-shots1.npz") as file:
            matrices[name] = file["distances_0"]
    assert np.abs(matrices["camera"] - matrices["plain"]).max() > 1e-3
    np.testing.assert_allclose(matrices["names"], matrices["camera"], atol=1e-6)
    assert "no label is used, but a probe alone could not be centred so" in capsys.readouterr().out
    page = (tmp_path / "camera" / "report" / "index.html").read_text()
    assert "is taken off" in page and "reconstructions below are" not in page
    evaluated(people, network, tmp_path / "dsr", "--methods=dsr_single", "--partial=crop", "--centred=camera")
    assert "of the pictures as they are, without centred" in (tmp_path / "dsr" / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--centred=c[0-9]+",), "a pattern of names with a group"),
        (("--centred=([0-9",), "centred must be 'camera', or a pattern"),
        (("--centred=(zebra)",), "centred=(zebra) is not in the names"),
        (("--centred=camera", "--methods=swm,dsr_single"), "not for swm"),
        (("--centred=camera", "--methods=dsr_single", "--calibrate=logistic"), "leave centred out"),
    ],
)
def test_centring_that_makes_no_sense_is_refused(people, network, tmp_path, arguments, message, capsys):
    evaluated(people, network, tmp_path / "out", *arguments, code=1)
    assert message in capsys.readouterr().err and not (tmp_path / "out" / "metrics.json").exists()


def test_unknown_cameras_are_refused():
    images = drawn([SIZE] * 2, [0, 1], [-1, 1])
    with pytest.raises(ValueError, match=r"unknown of 0\.png"):
        centred.cameras(images, "camera")


def test_a_single_picture_is_refused_before_anything_is_extracted():
    probes, gallery = drawn([SIZE] * 2, [0, 1], [0, 0]), drawn([SIZE] * 3, [0, 1, 2], [1, 1, 2])
    with pytest.raises(ValueError, match="a single gallery picture of cameras 2"):
        centred.remarks(probes, gallery, "camera")


def test_maps_of_a_file_are_centred_before_they_are_written(tmp_path, capsys):
    asked = ("--methods=dsr_single", "--centred=camera", f"--workdir={tmp_path / 'out'}")
    assert call(evaluate, f"--maps={tmp_path / 'maps.npz'}", *asked) == 1
    assert "centre the maps with dsr_jax.centring before map_file.write" in capsys.readouterr().err
