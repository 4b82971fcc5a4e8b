"""Several processes, on one host or many, that run the same program: parts of the work, exchange of results.

JAX's own runtime joins them (`jax.distributed`). Every process makes the same calls in the same order; each computes
its part of a call (gallery entries, images), and then all have the result. Only the first process writes files and
prints. With one process nothing here does anything.
"""

import json
import math
import os
import socket
import sys
import time
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

# Variables in which launchers give the number of processes. With more than one `jax.distributed` knows the rest.
LAUNCHERS = {"SLURM": "SLURM_STEP_NUM_TASKS", "Open MPI": "OMPI_COMM_WORLD_SIZE", "Cloud TPU": "TPU_WORKER_HOSTNAMES"}
PATIENCE = 300.0  # seconds for which process 0 is waited for
BLOCK = 1 << 26  # bytes that are exchanged at a time


def connect(
    coordinator_address: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> bool:
    """Joins the other processes; must come before anything else asks for a device.

    Args:
      coordinator_address: host:port of process 0, which all can reach. Without the three, a launcher that JAX knows
        (SLURM, Open MPI, a TPU slice) says it; without a launcher there is one process and nothing is done. "auto",
        alone: JAX finds out what cluster this is, or says that it cannot.
      num_processes: how many there are.
      process_id: which of them this is, 0 to num_processes - 1.

    Returns:
      Whether there are others to join.

    Raises:
      ValueError: if some of the three are missing or out of their range, or the others cannot be reached.

    Example:
      >>> connect(num_processes=2)
      Traceback (most recent call last):
      ValueError: coordinator_address and process_id are missing beside num_processes ...
    """
    given = {"coordinator_address": coordinator_address, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if coordinator_address == "auto" and len(missing) == 2:
        coordinator_address = None
    elif len(missing) == len(given):
        if not launched():
            return False
    elif missing:
        there = [name for name in given if name not in missing]
        raise ValueError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing beside {' and '.join(there)}: "
            "several processes need all three, one process none of them"
        )
    else:
        _check(str(coordinator_address), int(num_processes or 0), int(process_id or 0))
        if process_id:
            _reach(str(coordinator_address))
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM from the program
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except RuntimeError as error:  # how JAX reports what the network says
        raise ValueError(
            f"coordinator_address {coordinator_address or 'of the launcher'}: the processes did not join ({error}): "
            "start all of them, with an address of process 0 that every host reaches, before anything asks for a device"
        ) from error
    return True


def launched() -> str:
    """The launcher that started several processes of this program, or nothing.

    Cloud TPU names its hosts, the others give a number.
    """
    for launcher, variable in LAUNCHERS.items():
        value = os.environ.get(variable, "")
        count = int(value) if value.isdigit() else len(value.split(","))
        if count > 1:
            return launcher
    return ""


def leave(code: int) -> None:
    """Ends a process that failed, at once: an orderly end would wait for the others, which wait for this one."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def first() -> bool:
    """Whether this is the process that writes files."""
    return jax.process_index() == 0


def count() -> int:
    """The number of processes."""
    return jax.process_count()


def part(total: int) -> slice:
    """This process's part of ``total`` things; the parts of all follow each other and differ by one at most.

    Example:
      >>> part(10)
      slice(0, 10, None)
    """
    return _parts(total)[jax.process_index()]


def together(figures: np.ndarray, total: int) -> np.ndarray:
    """The columns of all processes side by side.

    Figures are (..., n), with a column for each of this process's `part` of ``total``; the result is (..., total). They
    are exchanged row by row, at most `BLOCK` bytes at a time.
    """
    if count() == 1:
        return figures
    parts = _parts(total)
    widest = max(columns_of.stop - columns_of.start for columns_of in parts)
    lines = figures.reshape(math.prod(figures.shape[:-1]), figures.shape[-1])
    found = np.empty((len(lines), total), figures.dtype)
    step = max(1, BLOCK // max(1, figures.itemsize * widest * len(parts)))
    for start in range(0, len(lines), step):
        block = np.zeros((min(step, len(lines) - start), widest), figures.dtype)
        block[:, : lines.shape[1]] = lines[start : start + step]
        for columns_of, columns in zip(parts, multihost_utils.process_allgather(block), strict=True):
            found[start : start + step, columns_of] = columns[:, : columns_of.stop - columns_of.start]
    return found.reshape(*figures.shape[:-1], total)


def agree(what: str, seen: Mapping[str, Any]) -> None:
    """Checks that all processes see the same; costs one exchange of a few bytes.

    Args:
      what: the subject, for the message.
      seen: names and values, of anything that JSON can hold or `str` can write.

    Raises:
      ValueError: in every process, naming all differences.
    """
    if count() == 1:
        return
    sums = [zlib.crc32(json.dumps([name, value], sort_keys=True, default=str).encode()) for name, value in seen.items()]
    # The names first: a process with others would have another number of values.
    for values in ([len(sums), zlib.crc32(repr(list(seen)).encode())], sums):
        everyone = multihost_utils.process_allgather(np.array(values, np.uint32))
        differ = np.flatnonzero((everyone != everyone[:1]).any(axis=0))
        if differ.size:
            names = [name for place, name in enumerate(seen) if place in differ] if values is sums else ["names"]
            raise ValueError(
                f"the processes differ in {what}: {', '.join(names)}; give all of them the same flags, and folders on "
                "a disk that all of them share"
            )


def wait(what: str) -> None:
    """Waits until all processes have come here."""
    if count() > 1:
        multihost_utils.sync_global_devices(what)


def _parts(total: int) -> list[slice]:
    """The `part` of every process."""
    edges = [total * i // count() for i in range(count() + 1)]
    return [slice(start, stop) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def _check(coordinator_address: str, num_processes: int, process_id: int) -> None:
    """Raises ValueError for an address or a number out of range."""
    host, _, port = coordinator_address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ValueError(
            f"coordinator_address must be host:port with a port of 1 to 65535, got {coordinator_address!r}"
        )
    if num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {num_processes}")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"process_id must be 0 to {num_processes - 1} of {num_processes} processes, got {process_id}: they are "
            "numbered from 0"
        )


def _reach(coordinator_address: str) -> None:
    """Waits until process 0 listens; JAX, which would wait as long, ends the program without a word that helps.

    Raises:
      ValueError: if it does not within `PATIENCE`.
    """
    host, _, port = coordinator_address.rpartition(":")
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise ValueError(
                    f"coordinator_address {coordinator_address} does not answer ({error}): start process 0 with it, on "
                    "a host and port that all others reach"
                ) from error
        time.sleep(0.2)
