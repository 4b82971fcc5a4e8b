"""DSR on top of any network: an ONNX re-id network's own vector against DSR on its spatial maps, nothing trained.

    python -m experiments.any_network --onnx=osnet.onnx --map_tensor=/conv5/conv/Conv_output_0 \\
        --dataset=cuhk03 --data_dir=DATA --size=256,128 --workdir=OUT

Rivals on the same partial probes and the same gallery draws: `own_vector` (the network's output for the probe resized
to `--size`, cosine: what people do today), `ridge_single`, `dsr_single`, `dsr_multi` on its maps. A probe keeps its
scale: the network, its input opened to any size, sees it alone, resized to the nearest whole number of map cells (so
that no cell is cut), and the borders of its map are those of an image. Needs the packages onnx and onnxruntime (extra
`peers`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from data import command, views
from experiments import comparison, difference, evaluate, features, methods, page, run, selection, settings

FLAGS = flags.FLAGS
command.define_path("onnx", None, "The network: one image input (n, 3, H, W), one vector output (n, c).")
flags.DEFINE_string("map_tensor", None, "Name of the tensor that is its spatial map, (n, d, h, w).")
flags.DEFINE_list("mean", ["0.485", "0.456", "0.406"], "Mean of RGB / 255 that the network subtracts.")
flags.DEFINE_list("deviation", ["0.229", "0.224", "0.225"], "Standard deviation by which it then divides.")


class OnnxNetwork:
    """An ONNX network twice: as it is, for vectors, and up to its spatial map, for images of any size.

    Args:
      path: the file.
      map_tensor: name of the map's tensor.
      size: (height, width) of its input.

    Raises:
      ValueError: if the file has no such tensor, or what is before it cannot do without one fixed input size.
    """

    def __init__(self, path: str, map_tensor: str, *, size: tuple[int, int]):
        """Loads the network; see the class."""
        import onnx
        import onnxruntime

        model = onnx.load(path)
        names = [name for node in model.graph.node for name in node.output]
        if map_tensor not in names:
            near = [name for name in names if name.endswith("Conv_output_0")][-3:] or names[-3:]
            raise ValueError(f"map_tensor {map_tensor!r} is not in {path}; some of its tensors: {', '.join(near)}")
        self._input, self._size = model.graph.input[0].name, size
        self._whole = onnxruntime.InferenceSession(model.SerializeToString())
        self._mean = np.array([float(v) for v in FLAGS.mean], np.float32)
        self._deviation = np.array([float(v) for v in FLAGS.deviation], np.float32)
        try:
            self._trunk = onnxruntime.InferenceSession(_trunk(model, map_tensor).SerializeToString())
            height, width, _ = self._map(np.zeros((*size, 3), np.uint8)).shape
            self._cell = round(size[0] / height), round(size[1] / width)
            self._map(np.zeros((size[0] - self._cell[0], size[1], 3), np.uint8))
        except Exception as error:  # onnxruntime has no class of its own for it
            raise ValueError(
                f"{path} up to {map_tensor!r} does not give a map of images of any size: name an earlier tensor"
            ) from error

    def maps(self, pictures: Sequence[np.ndarray], *, what: str) -> list[np.ndarray]:
        """(h, w, d) map of every picture at its own scale, brought to the nearest whole number of cells."""
        found = []
        for picture in tqdm(pictures, desc=what, unit="image", disable=not FLAGS.progress):
            cells = (max(1, round(side / cell)) for side, cell in zip(picture.shape[:2], self._cell, strict=True))
            height, width = (count * cell for count, cell in zip(cells, self._cell, strict=True))
            found.append(self._map(views.resize(picture, (height, width))))
        return found

    def vectors(self, pictures: Sequence[np.ndarray], *, what: str) -> list[np.ndarray]:
        """The network's own vector, unit length, of every picture resized to its input."""
        found = []
        for picture in tqdm(pictures, desc=what, unit="image", disable=not FLAGS.progress):
            vector = self._whole.run(None, {self._input: self._normalised(views.resize(picture, self._size))})[0][0]
            found.append(vector / np.linalg.norm(vector))
        return found

    def _map(self, picture: np.ndarray) -> np.ndarray:
        values = self._trunk.run(None, {self._input: self._normalised(picture)})[0][0]
        return np.ascontiguousarray(values.transpose(1, 2, 0))

    def _normalised(self, picture: np.ndarray) -> np.ndarray:
        return ((picture / np.float32(255) - self._mean) / self._deviation).transpose(2, 0, 1)[None]


def _trunk(model: Any, map_tensor: str) -> Any:
    """A copy of the network that ends at the map and takes any height and width."""
    import onnx

    trunk = onnx.ModelProto.FromString(model.SerializeToString())
    wanted, kept = {map_tensor}, []
    for node in reversed(trunk.graph.node):  # in the order of computation, as ONNX demands
        if wanted.intersection(node.output):
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
            wanted.update(node.input)
    weights = [values for values in trunk.graph.initializer if values.name in wanted]
    del trunk.graph.node[:], trunk.graph.initializer[:], trunk.graph.output[:], trunk.graph.value_info[:]
    trunk.graph.node.extend(reversed(kept))
    trunk.graph.initializer.extend(weights)
    trunk.graph.output.append(onnx.helper.make_tensor_value_info(map_tensor, onnx.TensorProto.FLOAT, None))
    for side, name in ((2, "height"), (3, "width")):
        trunk.graph.input[0].type.tensor_type.shape.dim[side].dim_param = name
    return trunk


def own_vector(gallery_vectors: list[np.ndarray]) -> methods.Method:
    """Cosine distance of the network's own vectors; several shots: their average. Probe vectors are `resized`."""

    def compare(sides: features.Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        x = np.stack([sides.resized[p] for p in probes])
        y = np.stack([np.mean([gallery_vectors[g] for g in entry], axis=0) for entry in entries])
        return 1 - x @ y.T

    return methods.Method(compare)


def main() -> None:
    """The runner."""
    for name in ("onnx", "map_tensor"):
        if not FLAGS[name].value:
            raise ValueError(f"{name} is missing: see --help")
    settings.refuse((*evaluate.OWN, "weights", "preprocessing", "output_stride", "compute"))
    evaluate.check()
    workdir = run.Workdir(settings.workdir_given(), selection.flag_values("any_network"))
    workdir.claim()
    size = settings.size()
    network = OnnxNetwork(FLAGS.onnx, FLAGS.map_tensor, size=size)
    found = selection.Selection(size)
    protocol = comparison.Protocol(1, FLAGS.trials, selection.camera_rule(), FLAGS.seed)
    trials = comparison.draws(found.probes, found.gallery, protocol)
    for line in evaluate.remarks(found, {1: trials}, (), size):
        print(line, flush=True)
    drawn = comparison.used(trials)
    searched, count = [found.gallery.pictures[i] for i in drawn], len(found.gallery.names)
    sides = features.Given(
        network.maps(found.probes.pictures, what="probe maps"),
        features.spread(network.maps(searched, what="gallery maps"), drawn, count),
        network.vectors(found.probes.pictures, what="probe vectors"),
    )
    vectors = features.spread(network.vectors(searched, what="gallery vectors"), drawn, count)
    chosen = {"own_vector": own_vector(vectors)}
    for name in ("ridge_single", "dsr_single", "dsr_multi"):
        chosen[name] = methods.METHODS[name](methods.Options(FLAGS.coder, FLAGS.match_l1, progress=FLAGS.progress))
    results = []
    for name, method in chosen.items():
        matrices = comparison.distances(method, sides, trials, label=name, progress=FLAGS.progress)
        results.append(comparison.Result("", name, 1, trials, matrices, found.probes.identities))
    probed = {result.key: result.per_probe for result in results}
    figures = page.flat(results)
    print(f"\n{found.caption()}, mean of {FLAGS.trials} draws\n{page.text(figures)}", flush=True)
    print(f"\n{page.paired_text(results, 'dsr_multi')}", flush=True)
    workdir.begin()  # nothing is written before the figures are seen
    difference.write(workdir.path / difference.FILE, probed, found.probes.identities)
    workdir.write_metrics(figures | found.metrics)


if __name__ == "__main__":
    run.main(main)
