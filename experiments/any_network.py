"""DSR on top of any network: an ONNX re-id network's own vector against DSR on its spatial maps, nothing trained.

    python -m experiments.any_network --onnx=osnet.onnx --map_tensor=/conv5/relu/Relu_output_0 \\
        --dataset=cuhk03 --data_dir=DATA --size=256,128 --workdir=OUT

Rivals on the same partial probes and the same gallery draws: `own_vector` (the network's output for the probe resized
to `--size`, cosine: what people do today), `ridge_single`, `dsr_single`, `dsr_multi` on its maps. A probe keeps its
scale: it is put on a canvas of the network's input size filled with the mean colour, and its part of the map is cut
out. Needs the packages onnx and onnxruntime (extra `peers`).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from data import views
from dsr_jax import report
from experiments import comparison, difference, evaluate, page, run, settings

FLAGS = flags.FLAGS
flags.DEFINE_string("onnx", None, "The network: one image input (n, 3, H, W), one vector output (n, c).")
flags.DEFINE_string("map_tensor", None, "Name of the tensor that is its spatial map, (n, d, h, w).")
flags.DEFINE_list("mean", ["0.485", "0.456", "0.406"], "Mean of RGB / 255 that the network subtracts.")
flags.DEFINE_list("deviation", ["0.229", "0.224", "0.225"], "Standard deviation by which it then divides.")


class OnnxNetwork:
    """An ONNX network with its spatial map as a second output.

    Args:
      path: the file.
      map_tensor: name of the map's tensor.
      size: (height, width) of its input.

    Raises:
      ValueError: if the file cannot be read or has no such tensor.
    """

    def __init__(self, path: str, map_tensor: str, *, size: tuple[int, int]):
        """Loads the network; see the class."""
        import onnx
        import onnxruntime

        model = onnx.load(path)
        names = [name for node in model.graph.node for name in node.output]
        if map_tensor not in names:
            near = [name for name in names if "elu" in name][-3:]
            raise ValueError(f"map_tensor {map_tensor!r} is not in {path}; some of its tensors: {', '.join(near)}")
        model.graph.output.append(onnx.helper.make_tensor_value_info(map_tensor, onnx.TensorProto.FLOAT, None))
        self._session = onnxruntime.InferenceSession(model.SerializeToString())
        self._input, self._outputs = model.graph.input[0].name, [map_tensor, model.graph.output[0].name]
        self._mean = np.array([float(v) for v in FLAGS.mean], np.float32)
        self._deviation = np.array([float(v) for v in FLAGS.deviation], np.float32)
        self._size = size

    def maps(self, pictures: Sequence[np.ndarray], *, what: str) -> list[np.ndarray]:
        """(h, w, d) map of every picture at its own scale, cut out of the canvas's map."""
        found = []
        for picture, values in zip(pictures, self._run(pictures, 0, what), strict=True):
            cell = self._size[0] / values.shape[1], self._size[1] / values.shape[2]
            height, width = (max(1, int(side // c)) for side, c in zip(picture.shape[:2], cell, strict=True))
            found.append(np.ascontiguousarray(values.transpose(1, 2, 0)[:height, :width]))
        return found

    def vectors(self, pictures: Sequence[np.ndarray], *, what: str) -> list[np.ndarray]:
        """The network's own vector, unit length, of every picture resized to its input."""
        resized = [views.resize(picture, self._size) for picture in pictures]
        return [vector / np.linalg.norm(vector) for vector in self._run(resized, 1, what)]

    def _run(self, pictures: Sequence[np.ndarray], output: int, what: str, batch: int = 16) -> Iterator[np.ndarray]:
        for start in tqdm(range(0, len(pictures), batch), desc=what, unit="batch", disable=not FLAGS.progress):
            inputs = np.zeros((len(pictures[start : start + batch]), *self._size, 3), np.float32)
            for row, picture in enumerate(pictures[start : start + batch]):
                if picture.shape[0] > self._size[0] or picture.shape[1] > self._size[1]:
                    raise ValueError(
                        f"a picture of {picture.shape[0]} x {picture.shape[1]} exceeds the network's input of "
                        f"{self._size[0]} x {self._size[1]}: use --probe_scale=keep, or crop it"
                    )
                values = (picture / np.float32(255) - self._mean) / self._deviation
                inputs[row, : picture.shape[0], : picture.shape[1]] = values
            yield from self._session.run([self._outputs[output]], {self._input: inputs.transpose(0, 3, 1, 2)})[0]


def own_vector(gallery_vectors: list[np.ndarray]) -> comparison.Method:
    """Cosine distance of the network's own vectors; several shots: their average. Probe vectors are `resized`."""

    def method(sides: comparison.Sides, probes: np.ndarray, entries: Sequence[Sequence[int]]) -> np.ndarray:
        x = np.stack([sides.resized[p] for p in probes])
        y = np.stack([np.mean([gallery_vectors[g] for g in entry], axis=0) for entry in entries])
        return 1 - x @ y.T

    return method


def main() -> None:
    """The runner."""
    for name in ("onnx", "map_tensor"):
        if not FLAGS[name].value:
            raise ValueError(f"{name} is missing: see --help")
    for name in ("shots", "methods", "weights", "output_stride", "compute", "ranked_lists"):
        if FLAGS[name].value != FLAGS[name].default:
            raise ValueError(f"{name} has no effect here: this runner has one shot, four methods and the ONNX network")
    evaluate.check()
    workdir = run.Workdir(settings.workdir_given(), run.flag_values("any_network"))
    size = settings.size()
    network = OnnxNetwork(FLAGS.onnx, FLAGS.map_tensor, size=size)
    found = evaluate.Data(size)
    protocol = comparison.Protocol(1, FLAGS.trials, FLAGS.camera_rule, FLAGS.seed)
    drawn = comparison.used(comparison.draws(found.probes, found.gallery, protocol))
    searched, count = [found.gallery.pictures[i] for i in drawn], len(found.gallery.names)
    maps = comparison.Sides(
        network.maps(found.probes.pictures, what="probe maps"),
        comparison.spread(network.maps(searched, what="gallery maps"), drawn, count),
        network.vectors(found.probes.pictures, what="probe vectors"),
    )
    vectors = comparison.spread(network.vectors(searched, what="gallery vectors"), drawn, count)
    methods: dict[str, Any] = {"own_vector": own_vector(vectors)}
    for name in ("ridge_single", "dsr_single", "dsr_multi"):
        methods[name] = comparison.METHODS[name](coder=FLAGS.coder, l1=FLAGS.match_l1)
    probed = {}
    for name, method in methods.items():
        scores = comparison.score(
            method, maps, found.probes, found.gallery, protocol, label=name, progress=FLAGS.progress
        )
        probed[f"{name}/shots1"] = comparison.per_probe(scores)
    workdir.begin()
    difference.write(workdir.path / difference.FILE, probed, found.probes.identities)
    results = {key: comparison.summarise(values, found.probes.identities) for key, values in probed.items()}
    rows: list[tuple[report.Cell, ...]] = [(name, *figures.values()) for name, figures in results.items()]
    print(report.text_table(rows, ["method", *next(iter(results.values()))]), flush=True)
    others = {f"{key} - own_vector": values for key, values in probed.items() if not key.startswith("own_vector")}
    own = dict.fromkeys(others, probed["own_vector/shots1"])
    print(difference.table(others, own, found.probes.identities, title="minus own_vector"))
    workdir.write_metrics(page.flat(results))


if __name__ == "__main__":
    run.main(main)
