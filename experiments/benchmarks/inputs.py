"""Inputs of the parts: pictures, network and maps, each made once, when a part first needs it."""

import functools
from typing import Any

import jax
import numpy as np

import data
from data import views
from dsr_jax import fcn, networks, weights
from experiments import evaluate
from experiments.benchmarks import maps as mapping
from experiments.benchmarks import stand_ins
from experiments.benchmarks.onnx_network import OnnxNetwork
from experiments.benchmarks.settings import Settings
from experiments.evaluation import features, pictures

SIDES = ("probe", "gallery")


class Inputs:
    """Inputs that the parts share. Nothing is read or extracted before it is needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store = mapping.Store(settings.maps.kept_maps)
        if settings.network.weights:
            weights.locate(settings.network.weights)
        self._splits = [settings.data.split(side) for side in SIDES]

    @functools.cached_property
    def chosen(self) -> mapping.Chosen:
        """Positions of the images: enough for every part."""
        coder, identification = self._settings.part_coder, self._settings.part_identification
        return mapping.choose(
            *self._splits,
            probes=max(coder.probes, identification.identified, self._settings.part_growth.search_probes),
            people=max(identification.people, coder.gallery),
            shots=max(identification.people_shots),
        )

    @functools.cached_property
    def network(self) -> features.Network:
        """The network of --weights, or one with random weights."""
        chosen = self._settings.network
        if chosen.weights:
            network = chosen.read()
            return evaluate.describe(network.params, network.card, chosen)
        params = fcn.init(jax.random.key(self._settings.seed.seed), width=self._settings.maps.vgg_width)
        return evaluate.describe(params, weights.Card(), chosen)

    @functools.cached_property
    def images(self) -> tuple[pictures.Images, pictures.Images]:
        """Partial probes and gallery pictures at the size of the network."""
        return self._read(self.network.size)

    @property
    def source(self) -> str:
        """Origin of the network's maps, in words."""
        height, width = self.network.size
        random = f"STAND-IN with random weights of width {self._settings.maps.vgg_width:g}: --weights is missing"
        titles = {"vgg16": "VGG-16", "resnet50": "ResNet-50", "osnet": "OSNet"}
        titles |= {"osnet_ibn": "OSNet-IBN", "osnet_ain": "OSNet-AIN"}
        network = titles[networks.architecture(self.network.params)]
        given = "weights given" if self._settings.network.weights else random
        return f"{self._settings.data.dataset}, {network} at {height} x {width}, {given}"

    def probes(self, count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Pictures of some probes, at their own size and stretched to the gallery's."""
        partial = self.images[0].pictures[:count]
        return partial, [views.resize(picture, self.network.size) for picture in partial]

    def vgg(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The network's maps of all probes and gallery pictures."""
        probe, gallery = (self._vgg(f"vgg_{s}", images) for s, images in zip(SIDES, self.images, strict=True))
        return probe, gallery

    def osnet(self) -> tuple[list[np.ndarray], list[np.ndarray], str]:
        """The ONNX network's maps of the coder's probes and gallery, or stand-ins; and which."""
        chosen, seed = self._settings.onnx, self._settings.seed.seed
        counts = self._settings.part_coder.probes, self._settings.part_coder.gallery
        if not (chosen.onnx and chosen.map_tensor):
            whole = stand_ins.drawn(counts[0], shape=chosen.stand_in_map, seed=seed, view=1)
            gallery = stand_ins.drawn(counts[1], shape=chosen.stand_in_map, seed=seed)
            shown = self._settings.probes
            probes = stand_ins.cropped(whole, seed=seed, height_range=shown.crop_height, width_range=shown.crop_width)
            return probes, gallery, "STAND-INS, drawn at random: --onnx is missing"
        size = (chosen.onnx_size[0], chosen.onnx_size[1])
        normalised = {"mean": chosen.mean, "deviation": chosen.deviation}
        network = OnnxNetwork(chosen.onnx, chosen.map_tensor, size=size, **normalised)
        about = (
            self._about(size)
            | {"onnx": weights.checksum(chosen.onnx)[:16], "map_tensor": chosen.map_tensor}
            | normalised
        )
        maps = []
        for side, images, count in zip(SIDES, self._read(size), counts, strict=True):
            make = functools.partial(network.maps, images.pictures[:count], progress=self._bar(f"onnx {side} maps"))
            maps.append(self._store.get(f"onnx_{side}", about | {"images": images.names[:count]}, make))
        return maps[0], maps[1], f"{self._settings.data.dataset}, the --onnx network at {size[0]} x {size[1]}"

    def searched(self) -> tuple[list[np.ndarray], str]:
        """The gallery that is searched, and what it is."""
        chosen, everything = self._settings.part_growth, self._splits[1]
        count = chosen.search_gallery
        if chosen.search_maps == "real" and len(everything) >= count:
            images = pictures.fit_gallery(pictures.read(everything, range(count)), self.network.size)
            return self._vgg("vgg_search", images), f"maps: {self.source}; every map of another image"
        few = self.vgg()[1]
        copies = list(stand_ins.perturbed(few, count, seed=self._settings.seed.seed))
        return copies, f"maps: {self.source}; PERTURBED COPIES of {len(few)} images (log-normal noise of 50 %)"

    def staged(self) -> tuple[list[np.ndarray], list[np.ndarray], str]:
        """Probes and gallery of the search through stages, and what they are."""
        settings, chosen, size = self._settings, self._settings.part_stages, self.network.size
        probe, gallery = self._splits
        sides = [pictures.read(gallery, range(min(chosen.stage_gallery, len(gallery))))]
        if len(gallery) < chosen.stage_gallery:
            train = settings.data.split("train")
            sides.append(pictures.read(train, range(min(chosen.stage_gallery - len(gallery), len(train)))))
        whole = pictures.Images(
            [picture for side in sides for picture in side.pictures],
            np.concatenate([side.identities for side in sides]),
            np.concatenate([side.cameras for side in sides]),
            [name for side in sides for name in side.names],
        )
        height, width = np.median([picture.shape[:2] for picture in whole.pictures], axis=0).tolist()
        spread = np.linspace(0, len(probe) - 1, min(chosen.stage_probes, len(probe))).astype(int).tolist()
        shown = pictures.fit_probes(
            pictures.read(probe, spread),
            settings.probes,
            size=size,
            gallery_shape=(height, width),
            partial=settings.partial,
        )
        maps = [self._vgg("stage_probe", shown), self._vgg("stage_gallery", pictures.fit_gallery(whole, size))]
        return maps[0], maps[1], f"maps: {self.source}"

    def _read(self, size: tuple[int, int]) -> tuple[pictures.Images, pictures.Images]:
        """The chosen probes, partial and scaled, and gallery pictures of a size."""
        settings = self._settings
        images = pictures.read(self._splits[1], self.chosen.gallery)
        height, width = np.median([picture.shape[:2] for picture in images.pictures], axis=0).tolist()
        partial = pictures.fit_probes(
            pictures.read(self._splits[0], self.chosen.probes),
            settings.probes,
            size=size,
            gallery_shape=(height, width),
            partial=settings.partial,
        )
        return partial, pictures.fit_gallery(images, size)

    def _vgg(self, key: str, images: pictures.Images) -> list[np.ndarray]:
        network, chosen = self.network, self._settings
        make = functools.partial(network.maps, images.pictures, progress=self._bar(f"{key.replace('_', ' ')} maps"))
        about = self._about(network.size)
        about |= {name: getattr(network, name) for name in ("convention", "output_stride", "dtype")}
        if chosen.network.weights:
            about["weights"] = weights.checksum(chosen.network.weights)[:16]
        else:
            about |= {"seed": chosen.seed.seed, "vgg_width": chosen.maps.vgg_width}
        return self._store.get(key, about | {"images": images.names}, make)

    def _about(self, size: tuple[int, int]) -> dict[str, Any]:
        """What decides the pictures and their crops, for the file of maps."""
        chosen, probes = self._settings.data, self._settings.probes
        return {
            "size": size,
            "data": data.fingerprint(chosen.dataset, data_dir=chosen.data_dir),
            "dataset": chosen.dataset,
            **{name: getattr(probes, name) for name in ("crop_height", "crop_width", "crop_seed", "probe_scale")},
            "partial": self._settings.partial,
        }

    def _bar(self, title: str) -> str:
        """The title of a progress bar; empty: none is shown."""
        return title if self._settings.place.progress else ""
