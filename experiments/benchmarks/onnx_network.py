"""An ONNX network up to its spatial map: maps of images of any size.

A picture keeps its scale: the network, its input opened to any size, sees it alone, resized to the nearest whole number
of map cells (so that no cell is cut), and the borders of its map are those of an image. Needs the packages onnx and
onnxruntime (extra `peers`).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from data import views


class OnnxNetwork:
    """An ONNX network up to its spatial map.

    Args:
      path: the file: one input of images, (n, 3, H, W) or (n, H, W, 3).
      map_tensor: name of the map's tensor, (n, d, h, w) or (n, h, w, d).

    Raises:
      ValueError: if the file has no such tensor, several inputs, an input that is no picture in floating point, or what
        is before the map cannot do without one fixed input size.
    """

    def __init__(
        self, path: str, map_tensor: str, *, size: tuple[int, int], mean: Sequence[float], deviation: Sequence[float]
    ):
        import onnx
        import onnxruntime

        model = onnx.load(path)
        names = [name for node in model.graph.node for name in node.output]
        if map_tensor not in names:
            near = [name for name in names if name.endswith("Conv_output_0")][-3:] or names[-3:]
            raise ValueError(f"map_tensor {map_tensor!r} is not in {path}; some of its tensors: {', '.join(near)}")
        self._input = _Input(model, path)
        self._mean, self._deviation = np.array(mean, np.float32), np.array(deviation, np.float32)
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

    def maps(self, pictures: Sequence[np.ndarray], *, progress: str = "") -> list[np.ndarray]:
        """(h, w, d) map of every picture at its own scale; ``progress`` names a progress bar."""
        maps = []
        for picture in tqdm(pictures, desc=progress, unit="image", disable=not progress):
            cells = (max(1, round(side / cell)) for side, cell in zip(picture.shape[:2], self._cell, strict=True))
            height, width = (count * cell for count, cell in zip(cells, self._cell, strict=True))
            maps.append(self._map(views.resize(picture, (height, width))))
        return maps

    def _map(self, picture: np.ndarray) -> np.ndarray:
        values = self._trunk.run(None, self._feed(picture))[0][0].astype(np.float32)
        return np.ascontiguousarray(values if self._channels_last else values.transpose(1, 2, 0))

    def _feed(self, picture: np.ndarray) -> dict[str, np.ndarray]:
        """The normalised picture in the layout, type and number that the input has."""
        values = (picture / np.float32(255) - self._mean) / self._deviation
        values = values if self._input.channels_last else values.transpose(2, 0, 1)
        return {self._input.name: np.repeat(values[None].astype(self._input.dtype), self._input.batch, axis=0)}


class _Input:
    """The input of a network: its name, type, layout, and how many images it takes at once."""

    def __init__(self, model: Any, path: str):
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
            shape = ", ".join(dim.dim_param or str(dim.dim_value or "?") for dim in tensor.shape.dim)
            raise ValueError(
                f"onnx {path} takes {self.name!r} of type {self.dtype} and shape ({shape}): an input of floating "
                "point, (n, 3, H, W) or (n, H, W, 3), is needed; export the network without what prepares its images"
            )
        self.batch = sides[0] or 1
        self.sides = (1, 2) if self.channels_last else (2, 3)


def _trunk(model: Any, map_tensor: str, images: _Input) -> Any:
    """A copy of the network that ends at the map and takes any height and width."""
    import onnx

    trunk = onnx.ModelProto.FromString(model.SerializeToString())
    wanted, needed = {map_tensor}, []
    for node in reversed(trunk.graph.node):  # in the order of computation, as ONNX demands
        if wanted.intersection(node.output):
            needed.append(onnx.NodeProto.FromString(node.SerializeToString()))
            wanted.update(node.input)
    weights = [values for values in trunk.graph.initializer if values.name in wanted]
    del trunk.graph.node[:], trunk.graph.initializer[:], trunk.graph.output[:], trunk.graph.value_info[:]
    trunk.graph.node.extend(reversed(needed))
    trunk.graph.initializer.extend(weights)
    trunk.graph.output.append(onnx.ValueInfoProto(name=map_tensor))  # of whatever type it is
    for side, name in zip(images.sides, ("height", "width"), strict=True):
        trunk.graph.input[images.places[0]].type.tensor_type.shape.dim[side].dim_param = name
    return trunk
