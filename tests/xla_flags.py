"""Which flags the installed XLA knows: at one of another version it ends every program that computes.

    python -m tests.xla_flags --xla_backend_optimization_level=0 --xla_of_an_old_version=1

prints those that it knows in one line, for XLA_FLAGS.
"""

import os
import subprocess
import sys
from collections.abc import Sequence


def known(flags: Sequence[str]) -> list[str]:
    """Those of the flags with which a program starts."""
    return [*flags] if _starts(flags) else [flag for flag in flags if _starts([flag])]


def _starts(flags: Sequence[str]) -> bool:
    environment = os.environ | {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", "import jax; jax.devices()"]
    return not subprocess.run(command, env=environment, capture_output=True, check=False).returncode


if __name__ == "__main__":
    print(" ".join(known(sys.argv[1:])))
