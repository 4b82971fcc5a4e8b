"""Threads that are kept: every part is done once, errors come out, children of a fork have their own."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import threadpoolctl
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax.cpu import cores


@given(
    total=st.integers(0, 50),
    threads=st.integers(1, 4) | st.none(),
    parts=st.integers(1, 5),
    least=st.integers(1, 20),
)
def test_every_part_is_done_once(total, threads, parts, least):
    done = []
    cores.each(lambda *edges: done.append(edges), total, threads=threads, parts=parts, least=least)
    assert sorted(i for start, stop in done for i in range(start, stop)) == list(range(total))
    assert len(done) == 1 or min(stop - start for start, stop in done) >= least


def test_one_thread_is_the_callers():
    seen = set()
    cores.each(lambda *_: seen.add(threading.current_thread()), 8, threads=1)
    assert seen == {threading.current_thread()}


def test_errors_come_out():
    def fail(start, stop):
        raise ValueError(f"at {start}")

    with pytest.raises(ValueError, match="at 0"):
        cores.each(fail, 8, threads=2)


def test_nothing_runs_on_after_an_error():
    """What still ran would write into memory that its owner has given up."""
    running, left = threading.Event(), []

    def part(start, stop):
        if start == 0:
            running.wait(600)
            raise MemoryError
        running.set()
        time.sleep(0.2)
        left.append(start)

    with pytest.raises(MemoryError):
        cores.each(part, 2, threads=2, parts=1)
    assert left == [1]


def test_parts_may_have_parts():
    done = []
    inner = lambda start, stop: done.extend(range(start, stop))  # noqa: E731
    cores.each(lambda start, stop: [cores.each(inner, 3, threads=2) for _ in range(start, stop)], 8, threads=2)
    assert sorted(done) == sorted([0, 1, 2] * 8)


@given(a=st.integers(1, 40), b=st.integers(1, 9), c=st.integers(1, 9), stack=st.booleans())
def test_products_are_numpys(a, b, c, stack):
    rng = np.random.default_rng((a, b, c))
    left = rng.standard_normal((a, c, b)) if stack else rng.standard_normal((a, b))
    right = rng.standard_normal((a, b, c)) if stack else rng.standard_normal((b, c))
    out = np.full((left @ right).shape, np.nan)
    cores.matmul(left, right, out)
    np.testing.assert_allclose(out, left @ right, atol=1e-12)


def test_blas_has_its_threads_again():
    """After overlapping products too, and after one that fails."""
    blas = threadpoolctl.ThreadpoolController().select(user_api="blas")
    before = [library["num_threads"] for library in blas.info()]
    square = np.ones((200, 200))
    crew = [threading.Thread(target=cores.matmul, args=(square, square, np.empty_like(square))) for _ in range(8)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    with pytest.raises(ValueError):
        cores.matmul(square, square, np.empty((200, 3)))
    assert before and [library["num_threads"] for library in blas.info()] == before


FORK = """
import os
from dsr_jax.cpu import cores

cores.each(lambda *_: None, 8, threads=2)
child = os.fork()
if not child:
    done = []
    cores.each(lambda start, stop: done.append(stop - start), 8, threads=2)
    os._exit(sum(done))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_a_child_of_a_fork_has_threads_of_its_own():
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert finished.stdout.strip() == "8", finished.stderr
