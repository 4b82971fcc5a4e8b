"""The mesh of devices, and the rows that each of them computes; the only place that knows of devices.

There is one mesh with one axis. Training shares out the rows of a batch (images or pairs): every device computes the
addends of its rows to each mean, and sums of loss, figures and gradient go over all devices of all hosts. Matching
shares out gallery entries: every device has a slice of them and all the probes, and none asks another for anything.
Rows that do not divide evenly are filled up, and the filling counts for nothing: the result is that of one device, to
rounding. On one device every function here leaves its argument as it is, and programs are as without it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

AXIS = "devices"
REAL = "real"  # in a batch that was shared out: which rows are no filling


def mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of all devices of all hosts, or of those given.

    A host's devices are neighbours in it, so that its rows follow each other. The axis is "auto": between programs the
    compiler keeps replicated arrays so; inside `jax.shard_map` nothing is left to it.

    Raises:
      ValueError: if no device is given.

    Example:
      >>> mesh(jax.devices()[:1]).size
      1
    """
    found = sorted(jax.devices() if devices is None else devices, key=lambda d: (d.process_index, d.id))
    if not found:
        raise ValueError("devices must name at least one device, got none; jax.devices() lists them")
    return Mesh(np.array(found), (AXIS,), axis_types=(AxisType.Auto,))


def own_mesh() -> Mesh:
    """The mesh of this process's own devices, for programs that need nothing of other hosts.

    On a CPU it is one device. One virtual device uses all cores; and programs of many of them at once, waiting for each
    other's threads, have been seen to deadlock on two cores.
    """
    devices = jax.local_devices()
    return mesh(devices[:1] if devices[0].platform == "cpu" else devices)


def rows(total: int, over: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a batch of ``total`` that this process has, device after device, and which are real: (n,) each.

    Every device has as many, ``ceil(total / devices)``; the last row stands in where there is none left, so that all
    numbers are those of real images.

    Raises:
      ValueError: if there are no rows.

    Example:
      >>> [part.tolist() for part in rows(3, mesh(jax.devices()[:1]))]
      [[0, 1, 2], [True, True, True]]
    """
    if total < 1:
        raise ValueError(f"total must be at least 1 row, got {total}: the batch is empty")
    each = -(-total // over.size)
    places = [place for place, device in enumerate(over.devices) if device.process_index == jax.process_index()]
    numbers = np.concatenate([np.arange(place * each, (place + 1) * each) for place in places])
    return np.minimum(numbers, total - 1), numbers < total


def spread(batch: dict[str, Any], over: Mesh, *, total: int | None = None) -> dict[str, Any]:
    """A batch on the mesh: every device has its rows, and `REAL` beside them. On one device: the batch as it is.

    Args:
      batch: arrays with a row for each row of the batch, or for each of this process's, which the devices then share
        evenly.
      over: the mesh.
      total: rows of the whole batch; default: those that are here.
    """
    if over.size == 1:
        return batch
    here = len(next(iter(batch.values())))
    numbers, real = rows(total or here, over)
    if total and here < total:
        numbers = numbers - numbers[0]
    local = {name: np.asarray(values)[numbers] for name, values in batch.items()} | {REAL: real}
    return _put(local, NamedSharding(over, P(AXIS)))


def replicated(tree: Any, over: Mesh) -> Any:
    """The same arrays on every device of the mesh; all hosts must give the same. On one device: as they are."""
    return tree if over.size == 1 else _put(tree, NamedSharding(over, P()))


def everywhere(over: Mesh) -> NamedSharding | None:
    """The sharding of results that are on every device, for `jax.jit`; None, its default, with one device."""
    return None if over.size == 1 else NamedSharding(over, P())


def entries(values: np.ndarray, over: Mesh) -> jax.Array:
    """Gallery entries (T, ...), T a multiple of the devices, on the mesh: each device has its slice and no more."""
    if over.size == 1:
        return jnp.asarray(values)
    return jax.device_put(values, NamedSharding(over, P(AXIS)))


def by_rows(function: Callable[..., Any], over: Mesh | None, *, shared: int) -> Callable[..., Any]:
    """The function, each device computing the rows that it has, without a word to the others.

    Args:
      function: of arrays; row i of every result depends on row i of the first ``shared`` arguments alone, and on all of
        the others.
      over: the mesh.
      shared: how many arguments are shared out by rows; the others are on every device.

    Returns:
      A function of as many arguments, for use inside `jax.jit`.

    Example:
      >>> add = by_rows(lambda x, y: x + y, mesh(), shared=1)
      >>> jax.jit(add)(jnp.zeros(8), jnp.ones(())).tolist()
      [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if over is None or over.size == 1:
        return function

    def split(*arguments: Any) -> Any:
        specs = tuple(P(AXIS) if i < shared else P() for i in range(len(arguments)))
        # What varies over the mesh is not traced: nothing here leaves a device, and loops may begin with constants.
        return jax.shard_map(function, mesh=over, in_specs=specs, out_specs=P(AXIS), check_vma=False)(*arguments)

    return split


class Share(NamedTuple):
    """The rows of a batch that one device has, inside `value_and_grad`.

    Means and sums are this device's addends to those of the whole batch.
    """

    real: Any = None  # (rows,) which of them are real; None: the whole batch, on one device

    def mean(self, values: Any) -> Any:
        """Addend to the mean of ``values``: (n rows,), one kind of row below the other."""
        if self.real is None:
            return jnp.mean(values)
        kinds = values.shape[0] // self.real.shape[0]
        count = (kinds * self.count(self.real)).astype(values.dtype)
        return jnp.sum(jnp.where(jnp.tile(self.real, kinds), values, 0)) / count

    def count(self, flags: Any) -> Any:
        """How many of ``flags`` are true, over all devices."""
        return jnp.sum(flags) if self.real is None else jax.lax.psum(jnp.sum(flags), AXIS)

    def total(self, values: Any) -> Any:
        """The sum of all devices' ``values``, which each of them then has. Differentiable."""
        return values if self.real is None else jax.lax.psum(values, AXIS)

    def alike(self, values: Any) -> Any:
        """Addend to ``values`` that all devices have alike: all of them on the first, and nothing on the others."""
        if self.real is None:
            return values
        first = jax.lax.axis_index(AXIS) == 0
        return jax.tree.map(lambda v: jnp.where(first, v, jnp.zeros_like(v)), values)

    def sizes(self, sizes: Any) -> Any:
        """``sizes`` (n rows, 2), one kind of row below the other, with (0, 0) for stand-ins."""
        if self.real is None:
            return sizes
        kinds = sizes.shape[0] // self.real.shape[0]
        return jnp.where(jnp.tile(self.real, kinds)[:, None], sizes, 0)

    def mean_over(self, chosen: Any, values: Any) -> Any:
        """Addend to the mean of the chosen ``values``; 0 where none is chosen."""
        count = jnp.maximum(self.count(chosen), 1).astype(values.dtype)
        return jnp.sum(jnp.where(chosen, values, 0)) / count

    def gathered(self, values: Any) -> Any:
        """The rows of all devices: (rows, ...) to (all rows, ...). Differentiable."""
        if self.real is None:
            return values
        return jax.tree.map(lambda v: jax.lax.all_gather(v, AXIS, tiled=True), values)

    def within(self, distances: Any) -> Any:
        """``distances`` (rows, all rows), infinite to stand-ins."""
        if self.real is None:
            return distances
        return jnp.where(self.gathered(self.real)[None, :], distances, jnp.inf)

    def only_real(self, flags: Any) -> Any:
        """``flags`` (rows,) or (rows, all rows), false where a stand-in is concerned."""
        if self.real is None:
            return flags
        flags = flags & self.real.reshape(-1, *[1] * (flags.ndim - 1))
        return flags if flags.ndim == 1 else flags & self.gathered(self.real)[None, :]


def value_and_grad(loss: Callable[..., Any], over: Mesh | None = None) -> Callable[..., Any]:
    """`jax.value_and_grad` of a loss that is a sum over the rows of a batch, over all devices.

    Args:
      loss: (params, frozen, batch, share) to (value, figures), each the addend of the batch's rows, formed by `Share`;
        figures are any pytree.
      over: the mesh; None or of one device: the loss of the whole batch as it is.

    Returns:
      A function (params, frozen, batch) to ((value, figures), gradient in params), each on every device. The batch is
      one of `spread`.
    """
    differentiated = jax.value_and_grad(loss, has_aux=True)
    if over is None or over.size == 1:
        return lambda params, frozen, batch: differentiated(params, frozen, batch, Share())

    def addends(params: Any, frozen: Any, batch: dict[str, Any]) -> Any:
        rows_here = {name: values for name, values in batch.items() if name != REAL}
        return jax.lax.psum(differentiated(params, frozen, rows_here, Share(batch[REAL])), AXIS)

    # Each device differentiates its own addends, and the sum is written here, so nothing need be traced for it.
    specs = (P(), P(), P(AXIS))
    return jax.shard_map(addends, mesh=over, in_specs=specs, out_specs=P(), check_vma=False)


def _put(tree: Any, place: NamedSharding) -> Any:
    """Arrays of this process as its part of arrays on the mesh."""
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, np.asarray(x)), tree)
