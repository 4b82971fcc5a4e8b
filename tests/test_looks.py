"""Several looks at every picture: distances are the means of those of the looks, and what has no mean is refused."""

import numpy as np
import pytest

from experiments import sweep
from experiments.evaluation import features, looks
from experiments.evaluation.looks import Look
from experiments.settings.matching import Looking
from tests.people import NETWORK, SHAPE, SIZE, drawn
from tests.runners import call, evaluated


def kept(workdir, name="maxsim_single-shots1"):
    with np.load(workdir / "distances" / f"{name}.npz") as file:
        return file["distances_0"]


def test_two_scales_of_one_size_are_an_error():
    probes, gallery = drawn([(40, 33)], [0], [0]), drawn([SIZE] * 2, [0, 1], [1, 1])
    with pytest.raises(ValueError, match="picture_scales 1 and 1.01 are both .* would count twice"):
        looks.sides((Look(), Look(1.01)), NETWORK, probes, gallery, [0, 1])


def test_one_plain_look_is_what_was_seen_without_any():
    probes, gallery = drawn([(40, 33)], [0], [0]), drawn([SIZE] * 2, [0, 1], [1, 1])
    assert Looking().looks == (Look(),) and looks.remark(Looking().looks) == []
    (only,) = looks.sides((Look(),), NETWORK, probes, gallery, [0, 1])
    plain = features.Features(NETWORK, probes, gallery, [0, 1])
    np.testing.assert_array_equal(only.probe[0], plain.probe[0])
    assert looks.seen(probes, Look(), 16).pictures[0] is probes.pictures[0], "sides of 40 x 33 stay as they are"


def test_sizes_are_those_of_both_sides_and_a_mirror_that_of_the_probe():
    probes, gallery = drawn([(48, 32)], [0], [0]), drawn([SIZE] * 2, [0, 1], [1, 1])
    chosen = looks.of((1, 2), mirrored=True)
    found = looks.sides(chosen, NETWORK, probes, gallery, [0, 1])
    assert [each.probe[0].shape[:2] for each in found] == [(3, 2), (3, 2), (6, 4), (6, 4)]
    assert [each.gallery[0].shape[:2] for each in found] == [SHAPE, SHAPE, (8, 6), (8, 6)]
    assert [each.resized[0].shape[:2] for each in found] == [SHAPE, SHAPE, (8, 6), (8, 6)]
    turned = probes._replace(pictures=[picture[:, ::-1].copy() for picture in probes.pictures])
    (other,) = looks.sides((Look(2),), NETWORK, turned, gallery, [0, 1])
    np.testing.assert_allclose(found[3].probe[0], other.probe[0], atol=1e-6)
    assert np.abs(found[3].probe[0] - found[2].probe[0]).max() > 1e-3
    again = looks.with_probes(found, chosen, turned, 16)
    np.testing.assert_allclose(again[3].probe[0], found[2].probe[0], atol=1e-6)
    assert again[3].gallery is found[3].gallery


def test_gallery_maps_of_one_size_are_made_once(monkeypatch):
    seen, original = [], features.Network.maps

    def counted(self, pictures, **options):
        seen.append([picture.shape[:2] for picture in pictures])
        return original(self, pictures, **options)

    monkeypatch.setattr(features.Network, "maps", counted)
    chosen = looks.of((1, 2), mirrored=True)
    found = looks.sides(chosen, NETWORK, drawn([(48, 32)], [0], [0]), drawn([SIZE] * 2, [0, 1], [1, 1]), [0, 1])
    assert len([each.gallery for each in reversed(found)]) == 4
    assert seen == [[(128, 96)] * 2, [SIZE] * 2]


def test_a_distance_is_the_mean_of_the_looks(people, network, tmp_path, capsys):
    asked = ("--methods=maxsim_single", "--partial=crop", "--probe_multiple=16")
    parts = []
    for scale in ("1", "1.5"):
        evaluated(people, network, tmp_path / scale, *asked, f"--picture_scales={scale}")
        parts.append(kept(tmp_path / scale))
    evaluated(people, network, tmp_path / "both", *asked, "--picture_scales=1,1.5")
    np.testing.assert_allclose(kept(tmp_path / "both"), np.mean(parts, axis=0), atol=1e-6)
    assert "pictures enlarged by 1, 1.5: each distance is the mean of 2" in capsys.readouterr().out
    evaluated(people, network, tmp_path / "mirror", *asked, "--mirrored")
    assert np.abs(kept(tmp_path / "mirror") - parts[0]).max() > 1e-5
    page = (tmp_path / "mirror" / "report" / "index.html").read_text()
    assert "probes also mirrored: each distance is the mean of 2" in page


@pytest.mark.slow
@pytest.mark.parametrize("looking", [("--picture_scales=1,1.5", "--mirrored"), ("--centred=camera",)])
def test_a_sweep_looks_as_an_evaluation_does(people, network, tmp_path, looking, capsys):
    common = ("--methods=maxsim_single", "--trials=1", *looking, "--noprogress")
    small = ("--dataset=folder", f"--data_dir={people}", f"--weights={network}", "--size=64,32", "--output_stride=16")
    where = f"--workdir={tmp_path / 'sweep'}"
    assert call(sweep, *small, *common, where, "--vary=probe_factor", "--values=1;1.5") == 0
    assert ("is taken off" in capsys.readouterr().out) == ("--centred=camera" in looking), (
        "what figures rest on is said"
    )
    for factor in ("1", "1.5"):
        out = tmp_path / factor
        evaluated(people, network, out, *common, f"--probe_factor={factor}")
        np.testing.assert_allclose(kept(tmp_path / "sweep", f"probe_factor={factor}-maxsim_single-shots1"), kept(out))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--picture_scales=0",), "factors such as 0.75,1,1.25, each once"),
        (("--picture_scales=nan",), "factors such as"),
        (("--picture_scales=1,1",), "each once"),
        (("--mirrored", "--methods=dsr_single", "--shortlist=2"), "mirrored cannot be had with a shortlist"),
        (("--picture_scales=1,2", "--methods=dsr_single", "--shortlist=2"), "another one in each look"),
        (("--mirrored", "--methods=dsr_single", "--calibrate=logistic"), "leave mirrored out"),
        (("--picture_scales=2", "--methods=dsr_single", "--calibrate=logistic"), "leave picture_scales out"),
    ],
)
def test_looks_that_make_no_sense_are_refused(people, network, tmp_path, arguments, message, capsys):
    evaluated(people, network, tmp_path / "out", *arguments, code=1)
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
