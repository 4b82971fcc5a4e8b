"""docs/your-own-network.md and any-network.md with torch and ONNX: blocks that other tests skip, files evaluated."""

import contextlib
import io
import json

import jax
import numpy as np
import pytest

from dsr_jax import map_file
from experiments import evaluate
from tests.runners import call
from tests.test_documents import ROOT, blocks

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime (extra peers)")
BLOCKS = [block for block in blocks(ROOT / "docs" / "your-own-network.md") if block.language == "python"]
(WITH_VECTORS,) = [block for block in blocks(ROOT / "docs" / "any-network.md") if "import onnxruntime" in block.code]


def small_network(path) -> None:
    """An ONNX network for pictures of any size: convolution, ReLU, convolution, ReLU ("map"), average."""
    helper, rng = onnx.helper, np.random.default_rng(0)
    kernels = {"first": rng.normal(0, 0.1, (32, 3, 8, 8)), "second": rng.normal(0, 0.1, (64, 32, 2, 2))}
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["a"], strides=[8, 8]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["vector"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, ["batch", 64, 1, 1])],
        [onnx.numpy_helper.from_array(values.astype(np.float32), name) for name, values in kernels.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.mark.parametrize("needs", ["torch", "onnxruntime", "flax"])
def test_the_block_runs_and_its_file_is_evaluated(needs, tmp_path, monkeypatch):
    (block,) = [block for block in BLOCKS if f"import {needs}" in block.code or f"from {needs} import" in block.code]
    monkeypatch.chdir(tmp_path)
    small_network(tmp_path / "network.onnx")
    with contextlib.redirect_stdout(io.StringIO()), jax.numpy_dtype_promotion("standard"):
        exec(compile(block.code, block.place, "exec"), {"__name__": "__main__"})
    small = ("--trials=1", "--noprogress", "--methods=dsr_multi", f"--workdir={tmp_path / 'out'}")
    assert call(evaluate, f"--maps={tmp_path / 'maps.npz'}", *small) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["dsr_multi/shots1/rank1"] == 100.0


def test_own_vectors_and_maps_of_the_same_crops_are_evaluated(people, tmp_path, monkeypatch):
    """The block of any-network.md on a small network and drawn people."""
    small_network(tmp_path / "network.onnx")
    code = WITH_VECTORS.code
    for there, here in (
        ("osnet_x0_25_msmt17.onnx", str(tmp_path / "network.onnx")),
        ("/conv5/conv/Conv_output_0", "map"),
        ("(256, 128)", "(64, 32)"),
        ('"cuhk03", "DATA"', f'"folder", "{people}"'),
        ("identities=200", "identities=4"),
    ):
        assert there in code
        code = code.replace(there, here)
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()), jax.numpy_dtype_promotion("standard"):
        exec(compile(code, WITH_VECTORS.place, "exec"), {"__name__": "__main__"})
    found = map_file.read("maps.npz")
    assert found.roles == ("probe",) * 4 + ("gallery",) * 4 and found.vectors.shape == (8, 64)
    assert all(shape[0] < 4 for shape in found.side("probe").maps.shapes), "crops at their own scale"
    arguments = ("--methods=own_vector,dsr_single", "--trials=1", "--noprogress", f"--workdir={tmp_path / 'out'}")
    assert call(evaluate, "--maps=maps.npz", *arguments) == 0
    with np.load(tmp_path / "out" / "distances" / "own_vector-shots1.npz") as file:
        distances = file["distances_0"]
    vectors = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(distances, 1 - vectors[:4] @ vectors[4:].T, atol=1e-6)
