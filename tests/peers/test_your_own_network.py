"""docs/your-own-network.md with torch and ONNX: the blocks that the other tests skip are run, their files evaluated."""

import contextlib
import io
import json

import jax
import numpy as np
import pytest

from experiments import evaluate
from tests.runners import call
from tests.test_documents import ROOT, blocks

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime (extra peers)")
BLOCKS = [block for block in blocks(ROOT / "docs" / "your-own-network.md") if block.language == "python"]


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
