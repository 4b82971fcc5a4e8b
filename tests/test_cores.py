"""Threads that are kept: every part is done once, errors come out, children of a fork have their own."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsr_jax import cores


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


FORK = """
import os
from dsr_jax import cores

cores.each(lambda *_: None, 8, threads=2)
child = os.fork()
if not child:
    done = []
    cores.each(lambda start, stop: done.append(stop - start), 8, threads=2)
    os._exit(sum(done))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_of_a_fork_has_threads_of_its_own():
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert finished.stdout.strip() == "8", finished.stderr
