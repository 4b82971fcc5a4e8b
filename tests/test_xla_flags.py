"""Flags that another version of XLA knows are left out of XLA_FLAGS."""

import pytest

from tests import xla_flags


@pytest.mark.slow
def test_unknown_flags_are_left_out():
    level, other = "--xla_backend_optimization_level=0", "--xla_of_no_version=1"
    assert xla_flags.known([level, other]) == [level]
