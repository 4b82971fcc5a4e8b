"""Store of distances: used where everything is alike, computed anew where anything differs."""

import io

import numpy as np
import pytest

from experiments.evaluation import comparison, store
from experiments.workdir import Workdir
from tests.people import GALLERY, NETWORK, QUERIES, drawn

DRAWN = {"shots": 1, "trials": 2, "camera_rule": "cross"}
TRIALS = comparison.draws(QUERIES, GALLERY, **DRAWN, seed=0)
MASKS = [[np.arange(16).reshape(4, 4) >= hidden] * 3 for hidden in (2, 4)]
FOUND = [np.random.default_rng(i).random((len(t.probes), len(t.draw.identities))) for i, t in enumerate(TRIALS)]


class Computer:
    """Counts how often it is asked."""

    def __init__(self, found=FOUND):
        self.calls, self.found = 0, found

    def __call__(self):
        self.calls += 1
        return self.found


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path / "out", {"seed": 0})


def test_the_second_time_it_is_read(workdir):
    compute, files = Computer(), store.Store(workdir, "inputs")
    for _ in range(3):
        found = files.get("after/dsr/shots1", TRIALS, compute)
        assert all(np.array_equal(a, b) for a, b in zip(found, FOUND, strict=True))
    assert compute.calls == 1
    assert [path.name for path in (workdir.path / "distances").iterdir()] == ["after-dsr-shots1.npz"]
    assert (workdir.path / "config.json").exists()


def test_other_inputs_or_draws_are_computed_anew(workdir):
    compute = Computer()
    store.Store(workdir, "inputs").get("dsr", TRIALS, compute)
    store.Store(workdir, "others").get("dsr", TRIALS, compute)
    assert compute.calls == 2
    for other in (
        TRIALS[:-1],
        comparison.draws(QUERIES, GALLERY, **DRAWN, seed=5),
        TRIALS,
    ):
        fewer = Computer(FOUND[: len(other)])
        store.Store(workdir, "others").get("dsr", other, fewer)
        assert fewer.calls == 1


def arrays(**content):
    file = io.BytesIO()
    np.savez(file, **content)
    return file.getvalue()


def array(content):
    file = io.BytesIO()
    np.save(file, content)
    return file.getvalue()


DAMAGE = {
    "nothing": lambda whole: b"",
    "the beginning": lambda whole: whole[: len(whole) // 2],
    "without the last byte": lambda whole: whole[:-1],
    "another number": lambda whole: whole.replace(FOUND[0].tobytes()[:8], bytes(8)),
    "text": lambda whole: b"no archive at all",
    "an array": lambda whole: array(np.ones(3)),
    "other arrays": lambda whole: arrays(x=np.ones(3)),
    "one array less": lambda whole: arrays(inputs="inputs", trials=len(TRIALS)),
    "other shapes": lambda whole: arrays(inputs="inputs", trials=np.ones(3)),
    "objects": lambda whole: arrays(inputs=np.array([{}], object)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_computed_anew(workdir, damage, capsys):
    compute, files = Computer(), store.Store(workdir, "inputs")
    files.get("dsr", TRIALS, compute)
    path = workdir.path / "distances" / "dsr.npz"
    whole = path.read_bytes()
    path.write_bytes(DAMAGE[damage](whole))
    assert path.read_bytes() != whole
    found = files.get("dsr", TRIALS, compute)
    assert all(np.array_equal(a, b) for a, b in zip(found, FOUND, strict=True))
    assert compute.calls == 2 and "computed anew" in capsys.readouterr().out
    files.get("dsr", TRIALS, compute)
    assert compute.calls == 2


def test_what_was_there_stays_until_all_is_computed(workdir):
    def broken():
        raise KeyboardInterrupt

    store.Store(workdir, "inputs").get("dsr", TRIALS, Computer())
    path = workdir.path / "distances" / "dsr.npz"
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        store.Store(workdir, "others").get("dsr", TRIALS, broken)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_file_of_another_method_is_not_believed(workdir):
    compute, files = Computer(), store.Store(workdir, "inputs")
    files.get("dsr", TRIALS, compute)
    folder = workdir.path / "distances"
    (folder / "resizing.npz").write_bytes((folder / "dsr.npz").read_bytes())
    files.get("resizing", TRIALS, compute)
    assert compute.calls == 2


def test_nothing_is_written_when_nothing_was_computed(workdir):
    def broken():
        raise ValueError("a map holds NaN")

    with pytest.raises(ValueError, match="NaN"):
        store.Store(workdir, "inputs").get("dsr", TRIALS, broken)
    assert not workdir.path.exists()


def test_the_digest_sees_network_pictures_and_settings():
    digests = {
        store.digest(NETWORK, QUERIES, GALLERY),
        store.digest(NETWORK, QUERIES, GALLERY, 8),
        store.digest(NETWORK._replace(output_stride=32), QUERIES, GALLERY),
        store.digest(NETWORK, drawn([(4, 5)] * 3, [1, 2, 3], [0, 0, 2]), GALLERY),
        store.digest(NETWORK, QUERIES, GALLERY.only(np.arange(6) < 5)),
        store.digest(NETWORK._replace(params={**NETWORK.params, "more": np.ones(1)}), QUERIES, GALLERY),
        *(store.digest(NETWORK, QUERIES._replace(shown=masks), GALLERY) for masks in MASKS),
    }
    assert len(digests) == 8
    assert store.digest(NETWORK, QUERIES, GALLERY) in digests
