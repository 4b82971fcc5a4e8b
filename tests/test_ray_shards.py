"""Shards in actors of Ray: a stand-in with as much of Ray as is used; `tests/peers` has Ray itself."""

import sys
import types

import numpy as np
import pytest

from dsr_jax import match, shortlist
from dsr_jax.adapters import ray_shards
from tests.test_search import many

COUNT = 24
PROBE, IMAGES = many(COUNT)


class TaskError(Exception):
    """An error of a call, which has its cause."""

    def __init__(self, cause):
        self.cause = cause


class DeadError(Exception):
    """What calls of a dead actor end with."""


class Handle:
    """An actor: calls are made when their result is asked for."""

    def __init__(self, made):
        self.made, self.dead = made, False

    def __getattr__(self, name):
        return types.SimpleNamespace(remote=lambda *given: (self, name, given))


def get(reference):
    actor, name, given = reference
    if actor.dead:
        raise DeadError("killed\nand more")
    try:
        return getattr(actor.made, name)(*(one() if callable(one) else one for one in given))
    except ValueError as error:
        raise TaskError(error) from error


@pytest.fixture
def ray(monkeypatch):
    """The stand-in; it keeps the options of actors."""
    placed = []

    def remote(made):
        def options(**given):
            placed.append(given)
            return types.SimpleNamespace(remote=lambda: Handle(made()))

        return types.SimpleNamespace(options=options)

    exceptions = types.SimpleNamespace(RayTaskError=TaskError, RayError=DeadError)
    fake = types.SimpleNamespace(
        remote=remote, get=get, put=lambda value: lambda: value, exceptions=exceptions, placed=placed
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def create(folder, numbers=range(COUNT), **how):
    names = [f"{i}.png" for i in numbers]
    how = {"cameras": [i % 2 for i in numbers], "dtype": "float32"} | how
    return match.Gallery.create(folder, [IMAGES[i] for i in numbers], names=names, **how)


def test_one_gallery_in_shards_is_one_gallery(ray, tmp_path):
    whole = create(tmp_path / "all")
    opened = ray_shards.Shards.open(tmp_path / "all", shards=3)
    whole.add([PROBE], names=["later.png"])  # shards are those of the version that was opened
    assert [one.entries for one in opened.about] == [8, 8, 8] and len(ray.placed) == 3
    masks = [np.arange(9).reshape(3, 3) != 4, np.ones((3, 3), bool)]
    for where in (None, {"cameras": [1]}, {"names": ["3.png"]}):  # the last one leaves two shards without entries
        merged = opened.search([PROBE, PROBE], 4, where=where, probe_masks=masks, probe_weights="norm")
        gallery = whole if where is None else whole.where(**where)
        for found, mask in zip(merged, masks, strict=True):
            wanted = shortlist.search(PROBE, gallery, 4, probe_masks=mask, probe_weights="norm")
            assert found.hits.names == wanted.hits.names and found.proven == wanted.proven
            np.testing.assert_allclose(found.hits.distance, wanted.hits.distance, atol=1e-6)
    with pytest.raises(ValueError, match="where leaves no entry"):
        opened.search(PROBE, where={"names": ["x.png"]})


def test_galleries_of_machines_are_searched_as_one(ray, tmp_path):
    create(tmp_path / "a", range(10)), create(tmp_path / "b", range(10, COUNT))
    opened = ray_shards.Shards.open([tmp_path / "a", tmp_path / "b"], placed=[{"num_cpus": 1}, {"num_cpus": 2}])
    (found,) = opened.search(PROBE, 3)
    assert found.hits.entries.tolist() == match.search(PROBE, match.Gallery.build(IMAGES), 3).entries.tolist()
    assert ray.placed == [{"num_cpus": 1}, {"num_cpus": 2}]
    (staged,) = opened.search(PROBE, 1, whole=10, first=8, second=4)
    assert staged.staged == (1,) and staged.hits.entries[0] == found.hits.entries[0]


def test_errors_name_the_shard(ray, tmp_path):
    create(tmp_path / "a", range(10)), create(tmp_path / "b", range(10, COUNT), network={"sha256": "1"})
    with pytest.raises(ValueError, match="network of shard 1"):
        ray_shards.Shards.open([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ValueError, match=r"shard 1 \(.*none\).*does not exist"):
        ray_shards.Shards.open([tmp_path / "a", tmp_path / "none"])
    opened = ray_shards.Shards.open(tmp_path / "a", shards=2)
    with pytest.raises(ValueError, match=r"shard 0 \(.*entries 0 to 4\).*channels"):
        opened.search(np.ones((2, 2, 3)))
    opened._actors[1].dead = True
    with pytest.raises(RuntimeError, match=r"shard 1 \(.*entries 5 to 9\).*died \(killed\)"):
        opened.search(PROBE)


@pytest.mark.parametrize(
    ("folders", "how", "wrong"),
    [
        ("a", {}, "shards must be"),
        ("a", {"shards": 0}, "shards must be"),
        (["a"], {"shards": 2}, "folders must be one"),
        (["a"], {"version": 1}, "folders must be one"),
        ([], {}, "folders must be one"),
        (["a"], {"placed": [{}, {}]}, "placed must have"),
    ],
)
def test_wrong_arguments(ray, folders, how, wrong):
    with pytest.raises(ValueError, match=wrong):
        ray_shards.Shards.open(folders, **how)


def test_without_ray_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match="ray"):
        ray_shards.Shards.open(["a"])
