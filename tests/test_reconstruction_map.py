"""The reconstruction map as it is written: colours, cells, data and policy. What it does is in test_page_in_browser."""

import base64
import hashlib
import json
import re

import jax
import numpy as np
import pytest

from data import synthetic
from dsr_jax import extract, fcn, match, report
from dsr_jax.report import reconstruction_map
from dsr_jax.report.reconstruction_map import Reconstruction
from tests.test_curves import contrast
from tests.test_report import Page, coloured, evaluation

NAN = float("nan")


def reconstruction(**change):
    codes = np.zeros((2, 1, 2, 2), np.float32)
    codes[0, 0] = [[0.5, 0.0], [-0.25, 0.75]]
    arguments = {
        "title": "Probe 7",
        "probe": coloured(0, 40, 20),
        "image": coloured(1, 32, 32),
        "codes": codes,
        "rebuilt": np.array([[0.634], [NAN]], np.float32),
        "distance": 0.366,
        "stride": 16,
        "right": True,
    }
    return Reconstruction(**(arguments | change))


def written(folder, *shown):
    path = report.write_evaluation(folder, **evaluation(reconstructions=shown))
    return Page(path.read_text(encoding="utf-8"))


def data(page):
    return [json.loads(text) for attrs, text in page.all("script") if attrs.get("type") == "application/json"]


def test_luminance_rises_along_the_whole_scale():
    colours = [reconstruction_map.colour(share) for share in np.linspace(0, 1, 101).tolist()]
    luminances = [reconstruction_map.luminance(colour) for colour in colours]
    assert np.all(np.diff(luminances) > 0)
    assert luminances[0] < 0.03 and luminances[-1] > 0.7
    assert reconstruction_map.gradient(101).split(", ") == colours


def test_numbers_are_readable_on_every_colour():
    colours = [reconstruction_map.colour(share) for share in np.linspace(0, 1, 101).tolist()]
    assert min(contrast(colour, reconstruction_map._ink(colour)) for colour in colours) >= 4.5


def test_every_position_is_a_cell_with_its_share_in_words_number_and_colour(tmp_path):
    page = written(tmp_path, reconstruction())
    cells = [(attrs, text) for attrs, text in page.all("div") if attrs.get("role") == "cell"]
    assert [attrs["aria-label"] for attrs, _ in cells] == [
        "row 1, column 1: 63 % rebuilt",
        "row 2, column 1: nothing to rebuild",
        "row 1, column 1",
        "row 1, column 2",
        "row 2, column 1",
        "row 2, column 2",
    ]
    assert [text for _, text in cells] == ["63 %", "", "", "", "", ""]
    assert reconstruction_map.colour(float(np.float32(0.634))) in cells[0][0]["style"]
    assert cells[1][0]["class"] == "cell nothing" and "style" not in cells[1][0]


def test_grids_cover_what_positions_see_and_pictures_share_a_scale(tmp_path):
    page = written(tmp_path, reconstruction())
    probe, image = (attrs["style"] for attrs, _ in page.all("div") if attrs.get("role") == "table")
    assert "width: 80.0000%; height: 80.0000%" in probe and "--columns: 1" in probe
    assert "width: 100.0000%; height: 100.0000%" in image and "--columns: 2" in image
    pair = next(attrs["style"] for attrs, _ in page.all("div") if attrs.get("class") == "pair")
    assert "minmax(0, 20fr) minmax(0, 32fr)" in pair


def test_only_codes_that_are_not_zero_are_stored_the_largest_first(tmp_path):
    assert data(written(tmp_path, reconstruction())) == [
        {"codes": [[0, 3, 0.75], [0, 0, 0.5], [0, 2, -0.25]], "start": 0}
    ]


def test_right_and_wrong_are_told_apart_by_words(tmp_path):
    page = written(tmp_path, reconstruction(), reconstruction(right=False))
    meta = [text for _, text in page.all("p") if "person, distance" in text]
    assert meta == ["✓ right person, distance 0.366", "✗ other person, distance 0.366"]


def test_names_cannot_break_out_of_the_page(tmp_path):
    evil = "</script><script>alert('x')</script> <!-- & \"quoted\""
    page = written(tmp_path, reconstruction(title=evil))
    assert evil in [" ".join(text.split()) for _, text in page.all("h3")]
    assert len(page.all("script")) == 2  # the data and the one script of the page


def test_the_policy_allows_the_one_script_by_its_hash_and_no_network(tmp_path):
    page = written(tmp_path, reconstruction())
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(attrs["content"] for attrs, _ in page.all("meta") if "http-equiv" in attrs)
    assert f"script-src 'sha256-{allowed}'" in policy and policy.startswith("default-src 'none'")
    assert "http" not in policy and "unsafe-eval" not in policy
    assert "script-src 'none'" in report._policy("")
    files = [attrs["src"] for attrs, _ in page.all("img")]
    assert all((tmp_path / name).is_file() for name in files)


def test_writing_again_is_identical(tmp_path):
    written(tmp_path, reconstruction())
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    written(tmp_path, reconstruction())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.zeros((2, 2, 2, 2))}, r"codes are \(2, 2, 2, 2\) and rebuilt \(2, 1\)"),
        ({"codes": np.zeros((2, 1, 4))}, r"codes are \(2, 1, 4\)"),
        ({"codes": np.zeros((2, 1, 0, 2))}, r"codes are \(2, 1, 0, 2\)"),
        ({"codes": np.full((2, 1, 2, 2), NAN)}, "codes must be finite"),
        ({"rebuilt": np.array([[1.2], [0.0]])}, r"rebuilt shares must be in \[0, 1\]"),
        ({"stride": 0}, "stride is 0"),
        ({"stride": 32}, r"probe has \(40, 20\) pixels and \(2, 1\) positions of stride 32"),
        ({"image": coloured(1, 32, 31)}, r"image has \(32, 31\) pixels"),
    ],
)
def test_what_does_not_fit_is_named_and_leaves_the_old_page_whole(tmp_path, change, message):
    written(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"'Probe 7': {message}"):
        written(tmp_path, reconstruction(**change))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_shares_may_leave_the_range_by_rounding(tmp_path):
    page = written(tmp_path, reconstruction(rebuilt=np.array([[1 + 1e-6], [-1e-6]])))
    shown = [text for attrs, text in page.all("div") if attrs.get("role") == "cell"]
    assert shown[:2] == ["100 %", "0 %"]


def test_it_shows_what_explain_gives(tmp_path):
    params = fcn.init(jax.random.key(0), width=0.125)
    who = synthetic.people(1)[0]
    probe = synthetic.draw(who, 0, 0, height=96, width=64)
    image = synthetic.draw(who, 1, 0, height=160, width=64)
    found = match.explain(*extract.maps(params, [probe, image]))
    shown = Reconstruction("Probe", probe, image, found.codes, found.rebuilt, found.distance, stride=32, right=True)
    (stored,) = data(written(tmp_path, shown))
    assert len(stored["codes"]) == np.count_nonzero(found.codes) > 0
    for i, j, code in stored["codes"]:
        assert code == pytest.approx(found.codes.reshape(6, 10)[i, j], rel=5e-3)
    assert stored["start"] == int(np.argmax(found.rebuilt))


def test_masked_positions_and_weights_are_told(tmp_path):
    visible = np.array([[True], [False]]), np.array([[True, True], [False, True]])
    weights = np.array([[0.875], [0.125]])
    page = written(tmp_path, reconstruction(visible=visible, weights=weights))
    cells = [attrs for attrs, _ in page.all("div") if attrs.get("role") == "cell"]
    assert [c["aria-label"] for c in cells[:2]] == [
        "row 1, column 1: 63 % rebuilt, 87.5 % of the weights",
        "row 2, column 1: masked",
    ]
    assert ["masked" in c["class"].split() for c in cells] == [False, True, False, False, True, False]
    assert cells[4]["aria-label"] == "row 2, column 1: masked"
    plain = written(tmp_path, reconstruction(visible=(np.ones((2, 1), bool), np.ones((2, 2), bool))))
    assert not any(
        "masked" in attrs.get("class", "").split() for name in ("div", "span") for attrs, _ in plain.all(name)
    )
    for wrong in ({"visible": visible[::-1]}, {"weights": weights.T}):
        with pytest.raises(ValueError, match="must be"):
            written(tmp_path, reconstruction(**wrong))
