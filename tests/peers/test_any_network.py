"""`experiments.any_network` on a small ONNX network whose maps NumPy can compute, and on flags without effect on it."""

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from experiments import any_network

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime (extra peers)")
pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime (extra peers)")

FLAGS = flags.FLAGS
SIZE, CELL, CHANNELS = (32, 16), 4, 5
RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(CHANNELS, 3, CELL, CELL)).astype(np.float32)
HEAD = RNG.normal(size=(CHANNELS * (SIZE[0] // CELL) * (SIZE[1] // CELL), 7)).astype(np.float32)


@pytest.fixture
def parsed():
    with flagsaver.flagsaver():
        FLAGS.unparse_flags()
        FLAGS(["any_network", "--noprogress", "--mean=0.5,0.4,0.3", "--deviation=0.2,0.3,0.4"])
        yield


@pytest.fixture
def path(tmp_path):
    """A network that takes one size only: convolution, ReLU, flattened, a linear head that knows that size."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"], strides=[CELL, CELL]),
        helper.make_node("Relu", ["map"], ["relu"]),
        helper.make_node("Reshape", ["relu", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["vector"]),
        helper.make_node("Reshape", ["relu", "fixed"], ["fixed_map"]),
    ]
    grid = SIZE[0] // CELL, SIZE[1] // CELL
    constants = {"kernel": KERNEL, "head": HEAD, "shape": np.array([1, -1]), "fixed": np.array([1, CHANNELS, *grid])}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["batch", 3, *SIZE])],
        [helper.make_tensor_value_info("vector", onnx.TensorProto.FLOAT, ["batch", HEAD.shape[1]])],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "small.onnx")
    return str(tmp_path / "small.onnx")


def expected_map(picture):
    values = (picture / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    h, w = picture.shape[0] // CELL, picture.shape[1] // CELL
    return np.einsum("hywxc,dcyx->hwd", values.reshape(h, CELL, w, CELL, 3), KERNEL.astype(np.float64))


def picture(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [SIZE, (20, 12), (4, 4), (40, 24)])
def test_map_of_any_whole_number_of_cells_is_that_of_the_picture_alone(parsed, path, shape):
    network = any_network.OnnxNetwork(path, "map", size=SIZE)
    (found,) = network.maps([picture(*shape)], what="")
    np.testing.assert_allclose(found, expected_map(picture(*shape)), atol=1e-4)


@pytest.mark.parametrize("shape, cells", [((23, 13), (6, 3)), ((21, 15), (5, 4)), ((1, 9), (1, 2))])
def test_other_pictures_are_brought_to_the_nearest_number_of_cells(parsed, path, shape, cells):
    (found,) = any_network.OnnxNetwork(path, "map", size=SIZE).maps([picture(*shape)], what="")
    assert found.shape == (*cells, CHANNELS)


def test_vectors_are_those_of_the_whole_network_with_unit_length(parsed, path):
    network = any_network.OnnxNetwork(path, "map", size=SIZE)
    (found,) = network.vectors([picture(*SIZE)], what="")
    expected = np.maximum(expected_map(picture(*SIZE)), 0).transpose(2, 0, 1).ravel() @ HEAD
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_a_tensor_that_is_not_there_is_answered_with_some_that_are(parsed, path):
    with pytest.raises(ValueError, match="'conv9' is not in .*some of its tensors: .*vector"):
        any_network.OnnxNetwork(path, "conv9", size=SIZE)


@pytest.mark.filterwarnings("ignore")  # onnxruntime's own
def test_a_map_that_exists_for_one_size_only_is_refused(parsed, path):
    with pytest.raises(ValueError, match="'fixed_map' does not give a map of images of any size"):
        any_network.OnnxNetwork(path, "fixed_map", size=SIZE)


@pytest.mark.parametrize("name", ["onnx", "map_tensor"])
def test_missing_flags_are_named(parsed, name):
    FLAGS.onnx, FLAGS.map_tensor = "x.onnx", "map"
    FLAGS[name].value = None
    with pytest.raises(ValueError, match=f"^{name} is missing"):
        any_network.main()


@pytest.mark.parametrize(
    "given", ["--shots=2", "--methods=dsr_multi", "--weights=x", "--output_stride=16", "--ranked_lists=3"]
)
def test_shared_flags_without_effect_are_refused(parsed, given):
    FLAGS(["any_network", "--onnx=x.onnx", "--map_tensor=map", given])
    with pytest.raises(ValueError, match=f"^{given[2:].partition('=')[0]} has no effect here"):
        any_network.main()


def exported(tmp_path, *, kind=np.float32, inner=None, batch="batch", last=False, outputs=("vector",), listed=False):
    """A network as exporters write it: type of its input and of what is inside, number of images, layout, outputs."""
    helper, inner = onnx.helper, inner or kind
    nodes, image = [], "image"
    if inner != kind:
        nodes, image = (
            [helper.make_node("Cast", [image], ["cast"], to=helper.np_dtype_to_tensor_dtype(np.dtype(inner)))],
            "cast",
        )
    if last:
        nodes.append(helper.make_node("Transpose", [image], ["first"], perm=[0, 3, 1, 2]))
    nodes += [
        helper.make_node("Conv", ["first" if last else image, "kernel"], ["map"], strides=[CELL, CELL]),
        helper.make_node("Transpose", ["map"], ["map_last"], perm=[0, 2, 3, 1]),
        helper.make_node("GlobalAveragePool", ["map"], ["vector"]),
        helper.make_node("Concat", ["vector", "vector"], ["logits"], axis=1),
    ]
    shape = [batch, *SIZE, 3] if last else [batch, 3, *SIZE]
    images = helper.make_tensor_value_info("image", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape)
    element = helper.np_dtype_to_tensor_dtype(np.dtype(inner))
    sizes = {"vector": CHANNELS, "logits": 2 * CHANNELS}
    found = [
        helper.make_tensor_value_info(
            n, element, [batch, sizes[n], 1, 1] if n in sizes else [batch, CHANNELS, "h", "w"]
        )
        for n in outputs
    ]
    kernel = onnx.numpy_helper.from_array(KERNEL.astype(inner), "kernel")
    inputs = [helper.make_tensor_value_info("kernel", element, KERNEL.shape), images] if listed else [images]
    graph = helper.make_graph(nodes, "small", inputs, found, [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "x.onnx")
    return str(tmp_path / "x.onnx")


@pytest.mark.parametrize("map_tensor", ["map", "map_last"])
@pytest.mark.parametrize(
    "how",
    [
        {"kind": np.float16},
        {"inner": np.float16},
        {"batch": 1},
        {"batch": 4},
        {"last": True},
        {"last": True, "kind": np.float16, "batch": 2},
        {"listed": True},
    ],
    ids=str,
)
def test_half_precision_fixed_batches_and_channels_last_give_the_same(parsed, tmp_path, how, map_tensor):
    network = any_network.OnnxNetwork(exported(tmp_path, **how), map_tensor, size=SIZE)
    half = np.float16 in how.values()
    for shape in (SIZE, (20, 12), (40, 24)):
        (found,) = network.maps([picture(*shape)], what="")
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected_map(picture(*shape)), atol=0.1 if half else 1e-4)
    (vector,) = network.vectors([picture(*SIZE)], what="")
    expected = expected_map(picture(*SIZE)).mean(axis=(0, 1))
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-2 if half else 1e-5)
    assert vector.shape == (CHANNELS,)


def test_of_several_outputs_the_vector_is_named_or_asked_for(parsed, tmp_path):
    path = exported(tmp_path, outputs=("logits", "vector"))
    asked = r"one of the outputs of .*x.onnx, logits \(batch, 10, 1, 1\), vector \(batch, 5, 1, 1\); got "
    for name in (None, "image"):
        with pytest.raises(ValueError, match=asked + str(name).lower()):
            any_network.OnnxNetwork(path, "map", size=SIZE, vector_tensor=name).vectors([picture(*SIZE)], what="")
    for name, size in (("logits", 2 * CHANNELS), ("vector", CHANNELS)):
        network = any_network.OnnxNetwork(path, "map", size=SIZE, vector_tensor=name)
        assert network.vectors([picture(*SIZE)], what="")[0].shape == (size,)


def test_an_output_that_is_a_map_is_no_vector(parsed, tmp_path):
    network = any_network.OnnxNetwork(exported(tmp_path, outputs=("map",)), "map", size=SIZE)
    with pytest.raises(ValueError, match="its output 'map' has shape .*no vector per image: name another"):
        network.vectors([picture(*SIZE)], what="")


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_an_input_of_whole_numbers_is_refused(parsed, tmp_path, kind):
    path = exported(tmp_path, kind=kind, inner=np.float32)
    with pytest.raises(
        ValueError, match="takes 'image' of type .*int.* and shape .batch, 3, 32, 16.: an input of floating"
    ):
        any_network.OnnxNetwork(path, "map", size=SIZE)


def test_a_tensor_that_is_no_map_is_refused(parsed, tmp_path):
    with pytest.raises(ValueError, match="map_tensor 'vector' of .* has shape .* its height does not follow"):
        any_network.OnnxNetwork(exported(tmp_path), "vector", size=SIZE)
