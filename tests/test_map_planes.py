"""Masks and weights in a file of maps: what was written comes back with its map, what does not fit is named."""

import numpy as np
import pytest

from dsr_jax import map_file, match
from experiments import evaluate
from tests.runners import call

SHAPES = [(4, 3, 8), (2, 5, 8), (3, 3, 8)]
LABELS = {"identities": [3, 3, 7], "roles": ["probe", "gallery", "gallery"], "names": ["a.png", "b.png", "c.png"]}
MASKS = [np.arange(12).reshape(4, 3) > 2, None, np.eye(3)]
WEIGHTS = [np.arange(12).reshape(4, 3) / 4, np.ones((2, 5)), None]


def maps():
    rng = np.random.default_rng(0)
    return [rng.random(shape, np.float32) for shape in SHAPES]


def test_masks_and_weights_come_back_and_match_as_given(tmp_path):
    map_file.write(tmp_path / "maps.npz", iter(maps()), masks=MASKS, weights=WEIGHTS, **LABELS)
    found = map_file.read(tmp_path / "maps.npz")
    every = [MASKS[0], np.ones((2, 5), bool), np.eye(3, dtype=bool)]
    assert [m.tolist() for m in found.masks] == [m.tolist() for m in every]
    assert all(m.dtype == bool for m in found.masks)
    assert [w.tolist() for w in found.weights] == [*(w.tolist() for w in WEIGHTS[:2]), [[1.0] * 3] * 3]
    probes, gallery = found.side("probe"), found.side("gallery")
    result = match.distances(
        probes.maps,
        gallery.maps,
        probe_masks=probes.masks,
        gallery_masks=gallery.masks,
        probe_weights=probes.weights,
    )
    expected = match.distances(
        maps()[0], maps()[1:], probe_masks=every[0], gallery_masks=every[1:], probe_weights=WEIGHTS[0]
    )
    np.testing.assert_array_equal(result.distance, expected.distance)


def test_a_file_without_them_has_none_and_numpy_may_write_them(tmp_path):
    map_file.write(tmp_path / "plain.npz", maps(), **LABELS)
    plain = map_file.read(tmp_path / "plain.npz")
    assert plain.masks is None and plain.weights is None and plain.side("probe").masks is None
    arrays = {f"map_{i}": m for i, m in enumerate(maps())}
    np.savez(tmp_path / "numpy.npz", **arrays, **LABELS, mask_2=np.eye(3, dtype=np.uint8))
    found = map_file.read(tmp_path / "numpy.npz")
    assert found.masks[2].tolist() == np.eye(3, dtype=bool).tolist() and found.masks[0].all()
    assert found.weights is None and found.digest != plain.digest


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"masks": MASKS[:2]}, "masks .* got 2 for 3"),
        ({"masks": [None, np.ones((5, 2)), None]}, r"masks\[1\] \(b.png\) must be \(2, 5\)"),
        ({"masks": [None, None, np.zeros((3, 3))]}, r"masks\[2\] \(c.png\) has no visible position"),
        ({"masks": [None, None, np.full((3, 3), 0.5)]}, r"masks\[2\] \(c.png\) holds 0.5"),
        ({"weights": [-np.ones((4, 3)), None, None]}, r"weights\[0\] \(a.png\) holds -1"),
        ({"weights": [np.full((4, 3), np.inf), None, None]}, r"weights\[0\] \(a.png\) has 12 values"),
        ({"weights": [np.zeros((4, 3)), None, None]}, r"weights\[0\] \(a.png\) is 0 everywhere"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        map_file.write(tmp_path / "maps.npz", maps(), **LABELS, **given)
    assert not (tmp_path / "maps.npz").exists()


def test_what_does_not_fit_in_a_file_of_numpy_is_named(tmp_path):
    arrays = {f"map_{i}": m for i, m in enumerate(maps())}
    for wrong, message in (
        ({"mask_1": np.ones((4, 3))}, r"maps file .*mask_1 must be \(2, 5\)"),
        ({"weight_0": np.full((4, 3), np.nan)}, "maps file .*weight_0 has 12 values that are NaN"),
    ):
        np.savez(tmp_path / "maps.npz", **arrays, **LABELS, **wrong)
        with pytest.raises(ValueError, match=message):
            map_file.read(tmp_path / "maps.npz")
    np.savez(tmp_path / "maps.npz", **arrays, **LABELS, mask_3=np.ones((4, 3)))
    with pytest.warns(UserWarning, match="mask_3"):
        map_file.read(tmp_path / "maps.npz")


def test_an_evaluation_masks_every_method_and_weights_those_that_say_so(tmp_path, capsys):
    rng = np.random.default_rng(1)
    gallery = [rng.random((5, 3, 8), np.float32) ** 3 for _ in range(4)]
    probes = [m[1:] + rng.normal(0, 0.1, (4, 3, 8)).astype(np.float32) for m in gallery]
    masks = [np.indices(m.shape[:2])[1] > 0 if i % 2 else np.ones(m.shape[:2]) for i, m in enumerate(probes + gallery)]
    weights = [rng.random(m.shape[:2]) for m in probes + gallery]
    labels = {"identities": [*range(4)] * 2, "roles": ["probe"] * 4 + ["gallery"] * 4, "masks": masks}
    for name, given in (("norm", None), ("given", weights)):
        map_file.write(tmp_path / "maps.npz", probes + gallery, weights=given, **labels)
        command = ("--methods=dsr_single,dsr_single_weighted,global_average", "--trials=1", "--noprogress")
        assert call(evaluate, f"--maps={tmp_path / 'maps.npz'}", f"--workdir={tmp_path / name}", *command) == 0
        said = capsys.readouterr().out
        assert "2 of 4 probes have positions that are zero" in said and ("the file has weights" in said) == (
            given is not None
        )
        for method, of_probes in (
            ("dsr_single", None),
            ("dsr_single_weighted", "norm" if given is None else given[:4]),
        ):
            expected = match.distances(
                probes,
                gallery,
                scales=(1,),
                probe_masks=masks[:4],
                gallery_masks=masks[4:],
                probe_weights=of_probes,
            )
            with np.load(tmp_path / name / "distances" / f"{method}-shots1.npz") as file:
                np.testing.assert_allclose(file["distances_0"], expected.distance[file["probes_0"]], atol=1e-5)


@pytest.mark.parametrize("factor", [1e-50, 1e50])
def test_weights_beyond_float32_keep_their_ratios(tmp_path, factor):
    weights = np.array([[1.0, 2.0], [0.0, 4.0]])
    map_file.write(
        tmp_path / "maps.npz", np.ones((1, 2, 2, 3)), identities=[1], roles=["probe"], weights=[factor * weights]
    )
    found = map_file.read(tmp_path / "maps.npz").weights[0]
    np.testing.assert_allclose(found / found.max(), weights / 4, rtol=1e-6)
