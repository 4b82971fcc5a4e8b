"""The exported programs: a process that knows nothing of this library computes the same distances."""

import json
import subprocess
import sys
import zipfile

import jax
import numpy as np
import pytest

from dsr_jax import extract, fcn, match, serving, weights
from experiments import export

from . import test_osnet
from .runners import call

SERVE = """
import json, sys, zipfile
import numpy as np
from jax import export

with zipfile.ZipFile(sys.argv[1]) as archive:
    card = json.loads(archive.read("card.json"))
    extract, match = (export.deserialize(bytearray(archive.read(name))) for name in ("extract", "match"))
with np.load(sys.argv[2]) as file:
    given = dict(file)
maps, sizes = map(np.asarray, extract.call(given["images"], given["sizes"]))
people, each = given["people"].shape
gallery = np.where(given["people"][..., None, None, None] >= 0, maps[given["people"]], 0)
gallery_sizes = np.where(given["people"][..., None] >= 0, sizes[given["people"]], 0).astype(np.int32)
found = match.call(maps, sizes, gallery, gallery_sizes)
assert not any(name.split(".")[0] in ("dsr_jax", "flax") for name in sys.modules), "served by the library itself"
np.savez(sys.argv[3], *found, stride=card["output_stride"])
"""


def drawn(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "card", "stride"),
    [
        (fcn.init(jax.random.key(0), width=1 / 8), weights.Card(width=1 / 8), 32),
        (
            test_osnet.params("ain", folded=True),
            weights.Card(architecture="osnet_ain", width=1 / 16, preprocessing="torch"),
            16,
        ),
    ],
    ids=["vgg16", "osnet"],
)
def test_another_process_finds_the_distances_of_match(tmp_path, network, card, stride):
    images = drawn([(96, 64), (64, 64), (80, 40), (96, 33)])
    said = serving.save(
        tmp_path / "dsr.zip", network, card, size=(96, 64), scales=(1, 2), shots=2, platforms=["cpu", "cuda"]
    )
    padded, sizes = np.zeros((4, 96, 64, 3), np.uint8), np.array([image.shape[:2] for image in images], np.int32)
    for row, image in zip(padded, images, strict=True):
        row[:] = 255  # what lies beyond an image does not matter
        row[: image.shape[0], : image.shape[1]] = image
    people = np.array([[0, 2], [1, -1], [3, -1]])  # the first has two images
    np.savez(tmp_path / "given.npz", images=padded, sizes=sizes, people=people)
    command = [sys.executable, "-I", "-c", SERVE, tmp_path / "dsr.zip", tmp_path / "given.npz", tmp_path / "found.npz"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=600)
    with np.load(tmp_path / "found.npz") as found:
        distance, lower, upper = (found[f"arr_{i}"] for i in range(3))
        assert found["stride"] == stride
    maps = extract.maps(network, images, convention=card.preprocessing, output_stride=stride)
    expected = match.distances(
        maps, [maps[i] for i in (0, 2, 1, 3)], identities=["a", "a", "b", "c"], scales=(1, 2), l1=0.4
    )
    np.testing.assert_allclose(distance, expected.distance, atol=1e-5)
    assert (lower <= expected.upper + 1e-7).all() and (expected.lower <= upper + 1e-7).all()
    assert (upper - lower).max() < 3e-3
    assert said["map_shape"] == [*maps[0].shape] and said["platforms"] == ["cpu", "cuda"]
    with zipfile.ZipFile(tmp_path / "dsr.zip") as archive:
        assert json.loads(archive.read("card.json")) == said


@pytest.mark.slow
def test_a_large_network_is_exported_without_calls_into_this_process(tmp_path):
    """Of many channels and pixels the convolution on a CPU is this library's own, which no other process has."""
    network = fcn.init(jax.random.key(0))
    serving.save(tmp_path / "dsr.zip", network, weights.Card(), size=(64, 64), scales=(1,))
    with zipfile.ZipFile(tmp_path / "dsr.zip") as archive:
        program = jax.export.deserialize(bytearray(archive.read("extract")))
    assert "callback" not in program.mlir_module()
    image = drawn([(64, 64)])
    maps, _ = program.call(np.stack(image), np.array([[64, 64]], np.int32))
    ours = extract.maps(network, image)[0]
    np.testing.assert_allclose(maps[0], ours, atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (31, 64)}, "size must be at least 32 x 32, one position of a map, got 31 x 64"),
        ({"l1": 0.0}, "l1 must be .*got 0.0"),
        ({"platforms": ["cpu", "abacus"]}, "platforms must be some of cpu, cuda, rocm, tpu, got abacus"),
        ({"shots": 0}, "shots must be at least 1, got 0"),
        ({"platforms": []}, "platforms must be some of .*, got none"),
        ({"scales": ()}, "scales must be whole numbers >= 1"),
        ({"scales": (9,)}, "smaller than one block of scales"),
        ({"path": "dsr.bin"}, "written as .zip"),
    ],
)
def test_what_is_refused(tmp_path, options, message):
    network, options = fcn.init(jax.random.key(0), width=1 / 64), {"size": (64, 64)} | options
    with pytest.raises(ValueError, match=message):
        serving.save(tmp_path / options.pop("path", "dsr.zip"), network, weights.Card(width=1 / 64), **options)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_either_form_from_what_the_file_says(tmp_path, capsys):
    network = fcn.init(jax.random.key(0), width=1 / 64)
    card = weights.Card(width=1 / 64, output_stride=16, extra={"size": [64, 32]})
    weights.save(tmp_path, network, card)
    given = f"--weights={tmp_path}"
    assert call(export, given, f"--out={tmp_path / 'a.zip'}", "--serve_scales=1", "--serve_shots=3") == 0
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        said = json.loads(archive.read("card.json"))
    assert (said["image_shape"], said["output_stride"], said["shots"], said["scales"]) == ([64, 32, 3], 16, 3, [1])
    assert call(export, given, "--form=torchvision", f"--out={tmp_path / 'b.safetensors'}") == 0
    assert weights.read_card(tmp_path / "b.safetensors") == card
    assert "images of up to 64 x 32 x 3, maps of up to 4 x 2 x 8, for cpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--form=torchvision", "--serve_shots=2", "--weights=w", "--out=a.safetensors"), "serve_shots has no effect"),
        (("--weights=w",), "out is missing: give --out=FILE"),
        (("--out=a.zip",), "weights is missing: give --weights=FILE"),
        (("--out=a.zip", "--weights=nowhere"), "does not exist"),
        (("--form=torchvision", "--size=64,32", "--weights=w", "--out=a.safetensors"), "size has no effect"),
        (("--dataset=cuhk03", "--weights=w", "--out=a.zip"), "Unknown command line flag 'dataset'"),
    ],
)
def test_the_command_refuses(capsys, arguments, message):
    assert call(export, *arguments) == 1
    assert message in capsys.readouterr().err
