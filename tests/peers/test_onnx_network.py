"""`experiments.benchmarks.onnx_network` on a small ONNX network whose maps NumPy can compute."""

import numpy as np
import pytest

from experiments.benchmarks.onnx_network import OnnxNetwork

onnx = pytest.importorskip("onnx", reason="needs the packages onnx and onnxruntime (extra peers)")
pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime (extra peers)")

SIZE, CELL, CHANNELS = (32, 16), 4, 5
MEAN, DEVIATION = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
KERNEL = np.random.default_rng(0).normal(size=(CHANNELS, 3, CELL, CELL)).astype(np.float32)


def network(path, map_tensor="map"):
    return OnnxNetwork(str(path), map_tensor, size=SIZE, mean=MEAN, deviation=DEVIATION)


def saved(tmp_path, *, kind=np.float32, inner=None, batch="batch", last=False, listed=False):
    """A network as exporters write it: type of its input and of what is inside, number of images, layout, inputs.

    "map" and "map_last" are its maps, "fixed" is a map of one size only, "vector" is no map.
    """
    helper, inner = onnx.helper, inner or kind
    nodes, image = [], "image"
    if inner != kind:
        nodes.append(helper.make_node("Cast", [image], ["cast"], to=helper.np_dtype_to_tensor_dtype(np.dtype(inner))))
        image = "cast"
    if last:
        nodes.append(helper.make_node("Transpose", [image], ["first"], perm=[0, 3, 1, 2]))
        image = "first"
    nodes += [
        helper.make_node("Conv", [image, "kernel"], ["map"], strides=[CELL, CELL]),
        helper.make_node("Transpose", ["map"], ["map_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["map", "shape"], ["fixed"]),
        helper.make_node("GlobalAveragePool", ["map"], ["vector"]),
    ]
    types = [helper.np_dtype_to_tensor_dtype(np.dtype(one)) for one in (kind, inner)]
    shape = [batch, *SIZE, 3] if last else [batch, 3, *SIZE]
    inputs = [helper.make_tensor_value_info("kernel", types[1], KERNEL.shape)] * listed
    inputs.append(helper.make_tensor_value_info("image", types[0], shape))
    outputs = [helper.make_tensor_value_info("vector", types[1], [batch, CHANNELS, 1, 1])]
    shape = np.array([1, CHANNELS, SIZE[0] // CELL, SIZE[1] // CELL])
    constants = [onnx.numpy_helper.from_array(KERNEL.astype(inner), "kernel")]
    constants.append(onnx.numpy_helper.from_array(shape, "shape"))
    graph = helper.make_graph(nodes, "small", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "small.onnx")
    return tmp_path / "small.onnx"


def expected(picture):
    values = (picture / 255 - np.array(MEAN)) / np.array(DEVIATION)
    h, w = picture.shape[0] // CELL, picture.shape[1] // CELL
    return np.einsum("hywxc,dcyx->hwd", values.reshape(h, CELL, w, CELL, 3), KERNEL.astype(np.float64))


def picture(height, width):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [SIZE, (20, 12), (4, 4), (40, 24)])
def test_maps_of_a_whole_number_of_cells_are_those_of_the_picture_alone(tmp_path, shape):
    (found,) = network(saved(tmp_path)).maps([picture(*shape)])
    np.testing.assert_allclose(found, expected(picture(*shape)), atol=1e-4)


@pytest.mark.parametrize("shape, cells", [((23, 13), (6, 3)), ((21, 15), (5, 4)), ((1, 9), (1, 2))])
def test_maps_of_other_pictures_have_the_nearest_number_of_cells(tmp_path, shape, cells):
    (found,) = network(saved(tmp_path)).maps([picture(*shape)])
    assert found.shape == (*cells, CHANNELS)


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
def test_maps_of_half_precision_fixed_batches_and_channels_last_are_the_same(tmp_path, how, map_tensor):
    found = network(saved(tmp_path, **how), map_tensor)
    for shape in (SIZE, (20, 12), (40, 24)):
        (values,) = found.maps([picture(*shape)])
        assert values.dtype == np.float32
        tolerance = 0.1 if np.float16 in how.values() else 1e-4
        np.testing.assert_allclose(values, expected(picture(*shape)), atol=tolerance)


def test_a_tensor_that_is_not_there_is_answered_with_some_that_are(tmp_path):
    with pytest.raises(ValueError, match="map_tensor 'conv9' .*some of its tensors: .*vector"):
        network(saved(tmp_path), "conv9")


@pytest.mark.filterwarnings("ignore")  # onnxruntime's own
def test_a_map_of_one_size_only_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'fixed' does not give a map of images of any size"):
        network(saved(tmp_path), "fixed")


def test_a_tensor_that_is_no_map_is_refused(tmp_path):
    with pytest.raises(ValueError, match="map_tensor 'vector' .* height does not follow"):
        network(saved(tmp_path), "vector")


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_an_input_of_whole_numbers_is_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r"'image' of type .*int.* and shape \(batch, 3, 32, 16\)"):
        network(saved(tmp_path, kind=kind, inner=np.float32))
