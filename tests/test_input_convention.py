"""The input convention of foreign networks: told by their numbers, or asked for, and never guessed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from dsr_jax import extract, fcn, resnet, weights
from dsr_jax.formats import input_convention, named_arrays, resnet50_names, vgg16_names
from experiments import evaluate, export, pretrain

from . import torch_files
from .runners import SMALL, call
from .test_weights import REFERENCE, keras_arrays, network

RNG = np.random.default_rng(0)


def photographs(count: int = 6) -> list[np.ndarray]:
    """Pictures whose amplitudes fall with frequency as those of photographs do, with colours that go together."""
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(96), np.fft.fftfreq(96)))
    waves[0, 0] = 1
    found = []
    for _ in range(count):
        grey, *colours = (np.fft.ifft2(np.fft.fft2(RNG.standard_normal((96, 96))) / waves).real for _ in range(4))
        values = np.stack([grey / grey.std() + 0.3 * c / c.std() for c in colours], axis=2)
        found.append(np.clip(118 + 58 * values, 0, 255).astype(np.uint8))
    return found


@functools.cache
def trained(convention: str) -> fcn.Params:
    """A ResNet-50 whose first running statistics are those of photographs in a convention."""
    params = resnet.init(jax.random.key(0), width=1 / 4)
    images = jnp.stack([fcn.preprocess(picture, convention) for picture in photographs()])
    *_, moved = resnet.train(params, images, blocks=(1, 1), momentum=1.0)
    first = moved["block1_norm"]
    return {**params, "block1_norm": {**params["block1_norm"], **{name: first[name] for name in ("mean", "var")}}}


def state_dict(params: fcn.Params) -> dict[str, np.ndarray]:
    names = resnet50_names if "block1_norm" in params else vgg16_names
    return named_arrays.from_params(params, names.layers("torchvision"), transposed=True)


def descendant(rows: np.ndarray | None = None, bias: np.ndarray | None = None) -> fcn.Params:
    """The first layer of a VGG-16 with that of another: its kernel above and below the centre, or its biases."""
    first = {"kernel": 0.1 * RNG.standard_normal((3, 3, 3, 64)), "bias": np.zeros(64)}
    if rows is not None:
        first["kernel"][[0, 2], 1] = rows
    if bias is not None:
        first["bias"] = bias
    return {"block1_conv1": first}


def signs(text: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of these signs, some 3 % of them turned by what training does."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).reshape(shape)
    turned = RNG.random(shape) < 0.03
    return np.where(bits ^ turned, 0.1, -0.1).astype(np.float32)


@pytest.mark.parametrize("convention", ["torch", "caffe", "caffe_rgb"])
def test_running_statistics_show_the_scale_of_the_input(convention):
    params = trained(convention)
    deviation = input_convention.input_deviation(params)
    assert deviation is not None and (0.5 < deviation < 2 if convention == "torch" else 30 < deviation < 120)
    expected = ("torch",) if convention == "torch" else ("caffe", "caffe_rgb")
    assert input_convention.evidence(params, {}).possible == expected


def test_a_resnet_of_torchvisions_names_with_caffes_values_is_not_read_as_torchs(tmp_path):
    """The order of colours is not seen in its numbers, so it is asked for."""
    np.savez(tmp_path / "x.npz", **state_dict(trained("caffe")))
    with pytest.raises(ValueError, match="x.npz': its input convention cannot be told from torchvision names, and the "
                       "running variances of its first layer are those of input of standard deviation .*: give "
                       r"--preprocessing=caffe \(BGR .*\) or --preprocessing=caffe_rgb"):  # fmt: skip
        weights.read_card(tmp_path / "x.npz")
    for asked in ("caffe", "caffe_rgb"):
        read = weights.read(tmp_path / "x.npz", preprocessing=asked)
        assert read.card.preprocessing == asked and "CAUTION" not in " ".join(read.remarks)
    read = weights.read(tmp_path / "x.npz", preprocessing="torch")
    assert "CAUTION: that is unlikely" in read.remarks[-1] and "'caffe' or 'caffe_rgb'" in read.remarks[-1]
    np.savez(tmp_path / "y.npz", **state_dict(trained("torch")))
    assert weights.read_card(tmp_path / "y.npz") == weights.Card("resnet50", width=0.25, preprocessing="torch")


def test_folded_statistics_tell_nothing(tmp_path):
    """As detectron2's networks of Caffe have them: mean 0, variance 1, all else in scale and bias."""
    params = resnet.init(jax.random.key(0), width=1 / 16)
    assert input_convention.evidence(params, {}) == ((), "its first layer is untrained, and expects nothing", False)
    params["block1_norm"]["scale"] = 0.02 * params["block1_norm"]["scale"]
    np.savez(tmp_path / "x.npz", **state_dict(params))
    with pytest.raises(ValueError, match="cannot be told .* those of no input: give --preprocessing=torch"):
        weights.read_card(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("mean", "deviation", "convention"),
    [
        ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], "torch"),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "torch"),
        ([103.53, 116.28, 123.675], [1.0, 1.0, 1.0], "caffe"),
        ([123.675, 116.28, 103.53], [1.0, 1.0, 1.0], "caffe_rgb"),
        ([0.48235, 0.45882, 0.40784], [1 / 255] * 3, "caffe_rgb"),
        ([103.53, 116.28, 123.675], [57.375, 57.12, 58.395], None),
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], None),
        ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0], None),
        ([127.0], [1.0], None),
    ],
)
def test_pixel_mean_and_deviation_of_fast_reid_say_it(tmp_path, mean, deviation, convention):
    pixels = {"pixel_mean": np.float32(mean)[:, None, None], "pixel_std": np.float32(deviation)[:, None, None]}
    backbone = {f"backbone.{name}": x for name, x in state_dict(trained("torch")).items()}
    np.savez(tmp_path / "x.npz", **backbone, **pixels)
    if convention is None:
        with pytest.raises(ValueError, match="pixel_mean .* are of none of the input conventions"):
            weights.read_card(tmp_path / "x.npz")
    else:
        assert weights.read_card(tmp_path / "x.npz").preprocessing == convention


@pytest.mark.parametrize("naming", ["torchvision", "Keras"])
@pytest.mark.parametrize("convention", ["caffe", "caffe_rgb", "torch"])
def test_a_vgg16_says_by_its_first_layer_whose_descendant_it_is(naming, convention):
    rows = signs(input_convention.CAFFE, (2, 3, 64))
    params = {
        "caffe": lambda: descendant(rows=rows),
        "caffe_rgb": lambda: descendant(rows=rows[:, ::-1]),
        "torch": lambda: descendant(bias=signs(input_convention.TORCHVISION, (64,))),
    }[convention]()
    found = input_convention.evidence(params, {})
    decided, remark = input_convention.decide(found, naming, None)
    assert decided == convention and f"its input is '{convention}'" in remark and "published VGG-16" in remark
    other = "torch" if convention != "torch" else "caffe"
    assert "CAUTION" in input_convention.decide(found, naming, other)[1]


def test_the_published_network_is_known_whatever_its_names_and_order(tmp_path, shared):
    """Our own file under torchvision's names, without its card; and as torchvision publishes it, in RGB."""
    params = weights.load(shared("weights/vgg16_imagenet_conv.npz"))
    torch_files.write(tmp_path / "x.pth", state_dict(params))
    assert weights.read_card(tmp_path / "x.pth").preprocessing == "caffe"
    arrays = state_dict(params)
    arrays["features.0.weight"] = arrays["features.0.weight"][:, ::-1]
    safetensors.numpy.save_file({k: np.ascontiguousarray(x) for k, x in arrays.items()}, tmp_path / "rgb.safetensors")
    assert weights.read_card(tmp_path / "rgb.safetensors").preprocessing == "caffe_rgb"
    moved = jax.tree.map(lambda x: x + 0.02 * RNG.standard_normal(x.shape).astype(np.float32), params["block1_conv1"])
    assert input_convention.evidence({**params, "block1_conv1": moved}, {}).possible == ("caffe",)
    assert "published VGG-16" in weights.read(shared("weights/vgg16_imagenet_conv.npz")).remarks[-1]


@pytest.mark.slow
def test_extraction_takes_the_convention_that_the_parameters_show():
    picture = [np.random.default_rng(0).integers(0, 256, (64, 32, 3), np.uint8)]
    vgg16, torchs = fcn.init(jax.random.key(0)), signs(input_convention.TORCHVISION, (64,))
    networks = {
        "torch": [vgg16 | descendant(bias=torchs), trained("torch")],
        "caffe": [vgg16 | descendant(rows=signs(input_convention.CAFFE, (2, 3, 64))), trained("caffe"), vgg16],
    }
    for convention, several in networks.items():
        for params in several:
            (found,), (expected,) = extract.maps(params, picture), extract.maps(params, picture, convention=convention)
            np.testing.assert_array_equal(found, expected)


def test_caffe_rgb_is_caffe_with_the_kernel_turned():
    """The same maps from both, so that a network in either order is read as it was trained."""
    params, (picture,) = network(width=1 / 16), photographs(1)
    turned = {**params["block1_conv1"], "kernel": params["block1_conv1"]["kernel"][:, :, ::-1]}
    maps = [
        fcn.apply(layers, fcn.preprocess(picture, convention)[None])[0]
        for layers, convention in ((params, "caffe"), ({**params, "block1_conv1": turned}, "caffe_rgb"))
    ]
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-4, atol=1e-4 * float(np.abs(maps[0]).max()))


@pytest.mark.parametrize("naming", ["torchvision", "dsr_jax"])
def test_a_network_that_tells_nothing_is_asked_for(tmp_path, naming):
    path = tmp_path / "x.pth"
    params = network(width=1 / 32)
    layers = vgg16_names.layers(naming)
    torch_files.write(path, named_arrays.from_params(params, layers, transposed=naming == "torchvision"))
    with pytest.raises(ValueError, match=f"x.pth': its input convention cannot be told from {naming} names.* no "
                       "published VGG-16: give --preprocessing=torch .* or --preprocessing=caffe "):  # fmt: skip
        weights.read_card(path)
    assert weights.load(path).keys() == params.keys(), "its numbers are there all the same"
    for asked in ("torch", "caffe"):
        read = weights.read(path, preprocessing=asked)
        assert read.card.preprocessing == asked and "as was said" in read.remarks[-1]
    with pytest.raises(ValueError, match="preprocessing='bgr': pass one of caffe, caffe_rgb, torch"):
        weights.read_card(path, preprocessing="bgr")


def test_keras_names_mean_caffe_where_nothing_contradicts_and_it_is_said(tmp_path):
    np.savez(tmp_path / "x.npz", **keras_arrays(network()))
    read = weights.read(tmp_path / "x.npz")
    assert read.card.preprocessing == "caffe"
    assert "Keras' names are taken to mean it" in read.remarks[-1] and "--preprocessing" in read.remarks[-1]
    assert weights.read_card(tmp_path / "x.npz", preprocessing="torch").preprocessing == "torch"


def test_a_card_that_says_another_convention_is_an_error_that_names_both(tmp_path):
    weights.save(tmp_path, network(), weights.Card(width=1 / 64))
    assert weights.read_card(tmp_path, preprocessing="caffe").preprocessing == "caffe"
    with pytest.raises(ValueError, match="its card says preprocessing='caffe', and preprocessing='torch' was given"):
        weights.read_card(tmp_path, preprocessing="torch")


@pytest.mark.slow
def test_the_runners_ask_for_it_tell_it_and_keep_it(people, tmp_path, capsys):
    common = (f"--weights={REFERENCE / 'vgg16_tiny.pth'}", "--dataset=folder", f"--data_dir={people}", *SMALL)
    trained = (
        *common,
        "--pretrain_steps=0",
        "--pretrain_batch_size=4",
        "--plot_every=0",
        f"--workdir={tmp_path / 'p'}",
    )
    compared = (*common, "--methods=global_average", "--trials=1", "--partial=none", f"--workdir={tmp_path / 'e'}")
    exported = (common[0], "--form=torchvision", f"--out={tmp_path / 'x.safetensors'}")
    for runner, arguments in ((pretrain, trained), (evaluate, compared), (export, exported)):
        assert call(runner, *arguments) == 1
        assert "its input convention cannot be told" in capsys.readouterr().err
        assert call(runner, *arguments, "--preprocessing=caffe") == 0
        assert "vgg16_tiny.pth: its input is 'caffe' (BGR of 0 to 255 without the mean)" in capsys.readouterr().out
    for made in ("p", "x.safetensors"):
        assert weights.read_card(tmp_path / made).preprocessing == "caffe"
    assert call(pretrain, "--preprocessing=torch", *trained[1:-1], f"--workdir={tmp_path / 'q'}") == 1
    assert "preprocessing=torch says what the network of --weights expects" in capsys.readouterr().err
