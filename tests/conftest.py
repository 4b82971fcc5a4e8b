"""How every test runs: strict arithmetic, eight virtual devices, checked shapes, and every warning an error.

- Mixed dtypes and implicit broadcasting of different ranks are errors, so that neither happens by accident.
- The CPU shows eight devices, so that sharded code is tested as sharded.
- The annotations of `dsr_jax` (shapes and types) are checked at every call, under jit while tracing.
- XLA runs collectives in one order, where it would not by itself.
- Compiled programs go with the tests that ran them, so that a process stays small.
- What is imported stays to the end, and the garbage collector does not look through it again and again.
- `x64` switches a test to float64, for the independent oracles; `shared` gives files that only some checkouts have.
"""

import gc
import importlib.metadata
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

from tests import memory, typecheck, xla_flags

ROOT = Path(__file__).resolve().parent.parent

gc.disable()  # until all is collected

# From 0.12 on the eight devices may come to two collectives in different orders, and wait for each other until XLA ends
# the process. The environment is read when the first device is made, and by the programs which tests start.
if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) >= (0, 12):
    ordered = xla_flags.known(["--xla_cpu_enable_concurrency_optimized_scheduler=false"])
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *ordered]).strip()

# Compiled programs are kept, the quick ones too: most of the time goes into compiling. In the environment, so that the
# programs which tests start take part; after JAX is imported, its own settings have to be told as well.
CACHE = {
    "jax_compilation_cache_dir": str(ROOT / ".cache" / "jax"),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
    "jax_traceback_in_locations_limit": 0,  # a program is found whoever called for it, and is traced a little sooner
}
for name, value in CACHE.items():
    os.environ[name.upper()] = str(value)
    jax.config.update(name, value)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Before anything imports dsr_jax: only modules imported after this are checked.
jaxtyping.install_import_hook("dsr_jax", f"{typecheck.__name__}.check")

# The same examples in every run, and no deadline: the first example of a jitted function compiles it.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("repeatable")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with slow tests first, so that quick ones are left to share at the end, and no process waits long."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Sets what was imported and collected apart: to look through it takes a third of a second, each time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def programs_of_a_module() -> Iterator[None]:
    """Releases the compiled programs of a module after its last test."""
    yield
    memory.release()


@pytest.fixture(autouse=True)
def programs_of_a_test() -> Iterator[None]:
    """Releases them within a module, too, after a test by which the process has grown much."""
    yield
    memory.release_if_grown()


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 for the duration of one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    """Gives `../shared/<name>` of the checkout; a test whose file is not there is skipped, and says so."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / name
        if not path.exists():
            pytest.skip(f"needs ../shared/{name} beside the checkout, which is not there")
        return path

    return find


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """--data_dir of a prepared folder of drawn people: four to train on, five to test on."""
    from tests import runners  # after the hook

    return runners.people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random network as a Keras file."""
    from tests import runners

    return runners.network(tmp_path_factory.mktemp("weights"))
