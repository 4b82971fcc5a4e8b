"""DSR on top of any network: an ONNX re-id network's own vector against DSR on its spatial maps, nothing trained.

    python -m experiments.any_network --onnx=osnet.onnx --map_tensor=/conv5/conv/Conv_output_0 \\
        --dataset=cuhk03 --data_dir=DATA --size=256,128 --workdir=OUT

Rivals on the same partial probes and the same gallery draws: `own_vector` (the network's output for the probe resized
to `--size`, cosine: what people do today), `ridge_single`, `dsr_single`, `dsr_multi` on its maps. A probe keeps its
scale: the network, its input opened to any size, sees it alone, resized to the nearest whole number of map cells (so
that no cell is cut), and the borders of its map are those of an image. Needs the packages onnx and onnxruntime (extra
`peers`).
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags
from tqdm import tqdm

from data import command, views
from experiments import difference, evaluate, run, settings
from experiments.evaluation import comparison, features, methods, page, selection

FLAGS = flags.FLAGS
command.define_path(
    "onnx", None, "The network: one input of images, (n, 3, H, W) or (n, H, W, 3), and an output of vectors, (n, c)."
)
flags.DEFINE_string("map_tensor", None, "Name of the tensor that is its spatial map, (n, d, h, w) or (n, h, w, d).")
flags.DEFINE_string("vector_tensor", None, "Name of the output that is its vector, where it has several outputs.")
flags.DEFINE_list("mean", ["0.485", "0.456", "0.406"], "Mean of RGB / 255 that the network subtracts.")
flags.DEFINE_list("deviation", ["0.229", "0.224", "0.225"], "Standard deviation by which it then divides.")


class OnnxNetwork:
    """An ONNX network twice: as it is, for vectors, and up to its spatial map, for images of any size.

    Args:
      path: the file.
      map_tensor: name of the map's tensor.
      size: (height, width) of its input.
      vector_tensor: name of the output that is its vector; default: the only output.

    Raises:
      ValueError: if the file has no such tensor, several inputs or outputs, an input that is no picture in floating
        point, or what is before the map cannot do without one fixed input size.
    """

    def __init__(self, path: str, map_tensor: str, *, size: tuple[int, int], vector_tensor: str | None = None):
        """Loads the network; see the class."""
        import onnx
        import onnxruntime

        model = onnx.load(path)
        names = [name for node in model.graph.node for name in node.output]
        if map_tensor not in names:
            near = [name for name in names if name.endswith("Conv_output_0")][-3:] or names[-3:]
            raise ValueError(f"map_tensor {map_tensor!r} is not in {path}; some of its tensors: {', '.join(near)}")
        self._input, self._size = _Input(model, path), size
        self._vector = functools.partial(_vector_output, model, path, vector_tensor)  # asked for with the vectors
        self._whole = onnxruntime.InferenceSession(model.SerializeToString())
        self._mean = np.array([float(v) for v in FLAGS.mean], np.float32)
        self._deviation = np.array([float(v) for v in FLAGS.deviation], np.float32)
        self._channels_last = False
        try:
            trunk = _trunk(model, map_tensor, self._input)
            self._trunk = onnxruntime.InferenceSession(trunk.SerializeToString())
            shape, taller = (
                self._map(np.zeros((*sides, 3), np.uint8)).shape for sides in (size, (2 * size[0], size[1]))
            )
        except Exception as error:  # onnxruntime has no class of its own for it
            raise ValueError(
                f"{path} up to {map_tensor!r} does not give a map of images of any size (a layer before it knows one "
                "size, or one number of images): name an earlier tensor, or export the network with these axes dynamic"
            ) from error
        # `_map` gives (h, w, d) of a map (n, d, h, w); of one (n, h, w, d) the height comes third.
        if shape == taller:
            raise ValueError(
                f"map_tensor {map_tensor!r} of {path} has shape {shape}: its height does not follow the image's"
            )
        self._channels_last = shape[2] != taller[2]
        height, width, _ = self._map(np.zeros((*size, 3), np.uint8)).shape
        self._cell = round(size[0] / height), round(size[1] / width)
        self._map(np.zeros((size[0] - self._cell[0], size[1], 3), np.uint8))

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
        found, output = [], self._vector()
        for picture in tqdm(pictures, desc=what, unit="image", disable=not FLAGS.progress):
            (values,) = self._whole.run([output], self._fed(views.resize(picture, self._size)))
            vector = np.ravel(values[0]).astype(np.float32)
            if vector.size != max(values.shape[1:], default=1):
                raise ValueError(
                    f"its output {output!r} has shape {values.shape}, which is no vector per image: name another "
                    "with --vector_tensor"
                )
            found.append(vector / np.linalg.norm(vector))
        return found

    def _map(self, picture: np.ndarray) -> np.ndarray:
        values = self._trunk.run(None, self._fed(picture))[0][0].astype(np.float32)
        return np.ascontiguousarray(values if self._channels_last else values.transpose(1, 2, 0))

    def _fed(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """The normalised picture in the layout, type and number that the input has."""
        values = (picture / np.float32(255) - self._mean) / self._deviation
        values = values if self._input.channels_last else values.transpose(2, 0, 1)
        return {self._input.name: np.repeat(values[None].astype(self._input.dtype), self._input.batch, axis=0)}


class _Input:
    """The input of a network: its name, type, layout, and how many images it takes at once.

    Raises:
      ValueError: if it is not one input of pictures in floating point.
    """

    def __init__(self, model: Any, path: str):
        """Reads the graph; see the class."""
        import onnx

        constants = {values.name for values in model.graph.initializer}  # old files list them among the inputs
        self.places = [i for i, value in enumerate(model.graph.input) if value.name not in constants]
        if len(self.places) != 1:
            names = [model.graph.input[i].name for i in self.places]
            raise ValueError(f"onnx {path} has inputs {', '.join(names)}: a network of one input, the image, is needed")
        value = model.graph.input[self.places[0]]
        self.name, tensor = value.name, value.type.tensor_type
        self.dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        sides = [dim.dim_value for dim in tensor.shape.dim]  # 0: any
        self.channels_last = len(sides) == 4 and sides[3] == 3 != sides[1]
        if len(sides) != 4 or (sides[1] not in (0, 3) and not self.channels_last) or self.dtype.kind != "f":
            raise ValueError(
                f"onnx {path} takes {self.name!r} of type {self.dtype} and shape {_shape(value)}: an input of floating "
                "point, (n, 3, H, W) or (n, H, W, 3), is needed; export the network without what prepares its images"
            )
        self.batch = sides[0] or 1
        self.sides = (1, 2) if self.channels_last else (2, 3)


def _shape(value: Any) -> str:
    """The shape of an input or output, for errors."""
    return f"({', '.join(dim.dim_param or str(dim.dim_value or '?') for dim in value.type.tensor_type.shape.dim)})"


def _vector_output(model: Any, path: str, name: str | None) -> str:
    """The output that is the vector.

    Raises:
      ValueError: if it is not said which of several it is, or there is none of that name.
    """
    outputs = {value.name: _shape(value) for value in model.graph.output}
    if name is None and len(outputs) == 1:
        return next(iter(outputs))
    if name is None or name not in outputs:
        listed = ", ".join(f"{output} {shape}" for output, shape in outputs.items())
        raise ValueError(f"vector_tensor must be one of the outputs of {path}, {listed}; got {name or 'none'}")
    return name


def _trunk(model: Any, map_tensor: str, images: _Input) -> Any:
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
    trunk.graph.output.append(onnx.ValueInfoProto(name=map_tensor))  # of whatever type it is
    for side, name in zip(images.sides, ("height", "width"), strict=True):
        trunk.graph.input[images.places[0]].type.tensor_type.shape.dim[side].dim_param = name
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
    network = OnnxNetwork(FLAGS.onnx, FLAGS.map_tensor, size=size, vector_tensor=FLAGS.vector_tensor)
    found = selection.Selection(size)
    protocol = comparison.Protocol(1, FLAGS.trials, selection.camera_rule(), FLAGS.seed)
    trials = comparison.draws(found.probes, found.gallery, protocol)
    for line in evaluate.remarks(found, {1: trials}, (), size):
        print(line, flush=True)
    drawn = comparison.used(trials)
    searched, count = [found.gallery.pictures[i] for i in drawn], len(found.gallery.names)
    probe_vectors = network.vectors(found.probes.pictures, what="probe vectors")  # first: which output it is may lack
    sides = features.Given(
        network.maps(found.probes.pictures, what="probe maps"),
        features.spread(network.maps(searched, what="gallery maps"), drawn, count),
        probe_vectors,
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
