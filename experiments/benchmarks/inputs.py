"""Pictures, network and maps of the benchmark, made from the flags once, when a part first asks for them."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import data
from data import views
from dsr_jax import extract, fcn, networks, weights
from experiments import any_network, evaluate, settings
from experiments.benchmarks import maps as mapping
from experiments.benchmarks import stand_ins
from experiments.evaluation import features, pictures, selection

FLAGS = flags.FLAGS
SIDES = ("probe", "gallery")


class Inputs:
    """What the parts share. Nothing is read or extracted before it is asked for.

    Raises:
      ValueError: for a data set, weights or a network that are not there.
    """

    def __init__(self) -> None:
        """Checks what the flags name; see the class."""
        self.store = mapping.Store(FLAGS.kept_maps)
        self.size, self.drawn = _shape("onnx_size", 2), _shape("stand_in_map", 3)
        if bool(FLAGS.onnx) != bool(FLAGS.map_tensor):
            raise ValueError("onnx and map_tensor belong together: give both, or neither for stand-ins")
        if FLAGS.onnx and not Path(FLAGS.onnx).is_file():
            raise ValueError(f"onnx file {FLAGS.onnx!r} does not exist: give another, or none for stand-ins")
        if FLAGS.weights:
            weights.locate(FLAGS.weights)
        else:
            settings.refuse_without_weights()
        self._splits = [data.load(FLAGS.dataset, split, data_dir=FLAGS.data_dir) for split in ("probe", "gallery")]

    @functools.cached_property
    def chosen(self) -> mapping.Chosen:
        """Which images: enough for every part."""
        return mapping.choose(
            *self._splits,
            probes=max(FLAGS.probes, FLAGS.identified, FLAGS.search_probes),
            people=max(FLAGS.people, FLAGS.gallery),
            shots=max(settings.integers("people_shots")),
        )

    @functools.cached_property
    def network(self) -> features.Network:
        """The network of --weights, or one with random weights."""
        if FLAGS.weights:
            return evaluate.network()
        params = fcn.init(jax.random.key(FLAGS.seed), width=FLAGS.vgg_width)
        return features.Network(params, "caffe", settings.output_stride(), settings.size(), FLAGS.compute)

    @functools.cached_property
    def read(self) -> tuple[pictures.Images, pictures.Images]:
        """Partial probes and gallery pictures at the size of the VGG-16."""
        return self._read(self.network.size)

    @property
    def source(self) -> str:
        """Where the VGG maps come from, in words."""
        height, width = self.network.size
        random = f"STAND-IN with random weights of width {FLAGS.vgg_width:g}: --weights is missing"
        network = {"vgg16": "VGG-16", "resnet50": "ResNet-50"}[networks.architecture(self.network.params)]
        return f"{FLAGS.dataset}, {network} at {height} x {width}, {FLAGS.weights and 'weights given' or random}"

    def shown(self, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Pictures of some probes, at their own size and stretched to the gallery's."""
        partial = self.read[0].pictures[:count]
        return partial, [views.resize(picture, self.network.size) for picture in partial]

    def vgg(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """VGG maps of all probes and gallery pictures."""
        probe, gallery = (self._vgg(f"vgg_{s}", images) for s, images in zip(SIDES, self.read, strict=True))
        return probe, gallery

    def osnet(self) -> tuple[list[np.ndarray], list[np.ndarray], str]:
        """The ONNX network's maps of the coder's probes and gallery, or stand-ins; and which."""
        counts = FLAGS.probes, FLAGS.gallery
        if not FLAGS.onnx:
            whole = stand_ins.drawn(counts[0], shape=self.drawn, seed=FLAGS.seed, view=1)
            gallery = stand_ins.drawn(counts[1], shape=self.drawn, seed=FLAGS.seed)
            probes = stand_ins.cropped(whole, seed=FLAGS.seed, **_ranges())
            return probes, gallery, "STAND-INS, drawn at random: --onnx is missing"
        size = (self.size[0], self.size[1])
        trunk = any_network.OnnxNetwork(FLAGS.onnx, FLAGS.map_tensor, size=size)
        own = {"onnx": mapping.digest(FLAGS.onnx), "map_tensor": FLAGS.map_tensor}
        own |= {name: FLAGS[name].value for name in ("mean", "deviation")}
        found = []
        for side, images, count in zip(SIDES, self._read(size), counts, strict=True):
            make = functools.partial(trunk.maps, images.pictures[:count], what=f"onnx {side} maps")
            about = self._about(size) | own | {"images": images.names[:count]}
            found.append(self.store.get(f"onnx_{side}", about, make))
        return found[0], found[1], f"{FLAGS.dataset}, the --onnx network at {size[0]} x {size[1]}"

    def searched(self) -> tuple[list[np.ndarray], str]:
        """The gallery that is searched, and what it is."""
        count, everything = FLAGS.search_gallery, self._splits[1]
        if FLAGS.search_maps == "real" and len(everything) >= count:
            images = pictures.fit_gallery(pictures.read(everything, range(count)), self.network.size)
            return self._vgg("vgg_search", images), f"maps: {self.source}; every map of another image"
        few = self.vgg()[1]
        found = list(stand_ins.perturbed(few, count, seed=FLAGS.seed))
        return found, f"maps: {self.source}; PERTURBED COPIES of {len(few)} images (log-normal noise of 50 %)"

    def _read(self, size: tuple[int, int]) -> tuple[pictures.Images, pictures.Images]:
        options: dict[str, Any] = dict(_ranges())
        options |= {"partial": selection.partial(), "probe_scale": FLAGS.probe_scale, "seed": FLAGS.crop_seed}
        return mapping.read(self._splits[0], self._splits[1], self.chosen, size=size, **options)

    def _vgg(self, key: str, images: pictures.Images) -> list[np.ndarray]:
        network = self.network
        how: dict[str, Any] = {
            "convention": network.convention,
            "output_stride": network.output_stride,
            "dtype": network.dtype,
        }
        progress = f"{key.replace('_', ' ')} maps" if FLAGS.progress else ""
        make = functools.partial(extract.maps, network.params, images.pictures, progress=progress, **how)
        drawn = {"seed": FLAGS.seed, "vgg_width": FLAGS.vgg_width}
        own = {"weights": mapping.digest(weights.locate(FLAGS.weights))} if FLAGS.weights else drawn
        return self.store.get(key, self._about(network.size) | how | own | {"images": images.names}, make)

    def _about(self, size: tuple[int, int]) -> dict[str, Any]:
        """What decides the pictures and their crops."""
        names = ("dataset", "crop_height", "crop_width", "crop_seed", "probe_scale")
        contents = data.fingerprint(FLAGS.dataset, data_dir=FLAGS.data_dir)
        how = {name: FLAGS[name].value for name in names} | {"partial": selection.partial()}
        return {"size": size, "data": contents, **how}


def _ranges() -> dict[str, tuple[float, float]]:
    return {"height_range": settings.shares("crop_height"), "width_range": settings.shares("crop_width")}


def _shape(flag: str, count: int) -> tuple[int, ...]:
    """The values of a list flag.

    Raises:
      ValueError: if they are not so many whole numbers.
    """
    found = settings.integers(flag)
    if len(found) != count:
        names = ",".join(("height", "width", "channels")[:count])
        raise ValueError(f"{flag} must be {names} such as {FLAGS[flag].default}, got {','.join(map(str, found))}")
    return found
