"""Shards in two local workers of Ray itself."""

import numpy as np
import pytest

from dsr_jax import calibration, match, shortlist
from dsr_jax.adapters import ray_shards
from tests.test_search import many

# Ray starts its programs by fork and exec; JAX warns of any fork.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
COUNT = 24
PROBE, IMAGES = many(COUNT)


@pytest.fixture(scope="module")
def ray():
    """Ray on this machine, with two workers at most."""
    ray = pytest.importorskip("ray", reason="needs the package ray (extra peers)")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def create(folder, numbers=range(COUNT), **how):
    return match.Gallery.create(folder, [IMAGES[i] for i in numbers], names=[f"{i}.png" for i in numbers], **how)


def test_two_workers_are_one_gallery(ray, tmp_path):
    whole = create(tmp_path / "all", dtype="float32")
    opened = ray_shards.Shards.open(tmp_path / "all", shards=2)
    for options in ({}, {"where": {"names": ["3.png", "4.png"]}}, {"whole": 5, "first": 12, "second": 12}):
        (found,) = opened.search(PROBE, 3, **options)
        gallery = whole.where(**options["where"]) if "where" in options else whole
        wanted = shortlist.search(PROBE, gallery, 3)
        assert found.hits.names == wanted.hits.names
        np.testing.assert_allclose(found.hits.distance, wanted.hits.distance, atol=1e-6)
    create(tmp_path / "a", range(10), dtype="float32"), create(tmp_path / "b", range(10, COUNT), dtype="float32")
    (found,) = ray_shards.Shards.open([tmp_path / "a", tmp_path / "b"]).search(PROBE, 3)
    assert found.hits.entries.tolist() == match.search(PROBE, whole, 3).entries.tolist()
    assert found.proven == ("gallery",) * 3


def test_what_goes_wrong_in_a_worker_names_the_shard(ray, tmp_path):
    distances = np.linspace(0.1, 0.9, 40)
    fitted = calibration.fit(distances, distances < 0.4, fitted_on=calibration.settings("auto", images_per_entry=1))
    create(tmp_path / "a", range(10)).calibrated(fitted), create(tmp_path / "b", range(10, COUNT))
    with pytest.raises(ValueError, match="calibration of shard 1"):
        ray_shards.Shards.open([tmp_path / "a", tmp_path / "b"])
    with pytest.raises(ValueError, match=r"shard 0 \(.*network.*another|network: "):
        ray_shards.Shards.open([tmp_path / "a"], network={"sha256": "1"})
    opened = ray_shards.Shards.open(tmp_path / "a", shards=2)
    with pytest.raises(ValueError, match=r"shard 0 \(.*entries 0 to 4\).*channels"):
        opened.search(np.ones((2, 2, 3)))
    assert opened.search(PROBE, 2)[0].hits.probability is not None
    ray.kill(opened._actors[1])
    with pytest.raises(RuntimeError, match=r"shard 1 \(.*entries 5 to 9\).*died"):
        opened.search(PROBE)
