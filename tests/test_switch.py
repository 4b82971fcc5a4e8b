"""The switch of `dsr_jax.cpu` and the table of solvers: what "auto" is where, and which names are refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import cpu, match, reconstruction
from dsr_jax.cpu import convolution
from dsr_jax.solvers import table


def test_auto_on_a_cpu_and_in_plain_xla(monkeypatch):
    assert [table.choose("auto", use=use) for use in ("matching", "training")] == ["active_set"] * 2
    with cpu.plain_xla():
        assert [table.choose("auto", use=use) for use in ("matching", "training")] == ["homotopy", "homotopy"]
    monkeypatch.setenv(cpu.SWITCH, "1")
    assert table.choose("auto", use="matching") == match.choose_coder("auto") == "homotopy"
    assert not convolution.pays(jnp.ones((32, 16, 16, 64)), jnp.ones((3, 3, 64, 64)))
    monkeypatch.setenv(cpu.SWITCH, "0")
    assert convolution.pays(jnp.ones((32, 16, 16, 64)), jnp.ones((3, 3, 64, 64)))


def test_a_switch_that_is_neither_on_nor_off(monkeypatch):
    monkeypatch.setenv(cpu.SWITCH, "yes")
    with pytest.raises(ValueError, match="DSR_JAX_PLAIN_XLA must be 0 or 1, got 'yes'"):
        match.distances(np.ones((2, 2, 3)), np.ones((2, 2, 3)))


def test_names_are_refused_where_they_do_not_belong():
    assert set(match.CODERS) - set(table.names("training")) == {"ridge", "maxsim"}
    with pytest.raises(ValueError, match="coder must be 'auto' or one of .*got 'ridge'"):
        reconstruction.solve(jnp.ones((1, 2)), jnp.ones((1, 2)), coder="ridge")
    with pytest.raises(ValueError, match="coder must not be 'ridge'.*no certificate"):
        table.choose("ridge", use="matching", certified=True)
