"""Memory of the engine in XLA: what the compiler sets aside for a tile is within what the engine reckons with."""

import jax
import jax.numpy as jnp
import pytest

from dsr_jax.matching import xla
from dsr_jax.parallel import sharding
from dsr_jax.solvers import table

from . import quick

SOLVERS = [name for name, solver in table.SOLVERS.items() if solver.engine == "xla"]
# (dictionaries, atoms, probes, columns of each, length): few columns of many atoms, many of few, and both.
SHAPES = [(8, 128, 1, 16, 128), (8, 30, 20, 15, 64), (2, 128, 10, 80, 128)]


@pytest.mark.parametrize("shape", quick.only(SHAPES[:1], SHAPES), ids=str)
@pytest.mark.parametrize("coder", quick.only(["ridge"], SOLVERS))
def test_memory_of_a_tile(coder, shape):
    dictionaries, atoms, probes, columns, length = shape
    given = [(dictionaries, atoms, atoms), (dictionaries, atoms, length), (probes, columns, length)]
    lowered = xla._shared.lower(
        *(jax.ShapeDtypeStruct(sides, jnp.float32) for sides in given),
        coder=coder,
        l1=0.4,
        tol=1e-6,
        mesh=sharding.mesh(jax.devices()[:1]),
    )
    memory = lowered.compile().memory_analysis()
    used = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    pair, entry, probe = xla._bytes(columns, atoms, length, coder)
    assert used <= dictionaries * probes * pair + dictionaries * entry + probes * probe
