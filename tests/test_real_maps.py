"""Real photographs through the real network: what random numbers do not show.

Needs ../shared (weights and CUHK03) beside the checkout; skipped elsewhere. No picture leaves memory.
"""

import functools
import io
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dsr_jax import blocks, extract, fcn, match, reconstruction, weights
from dsr_jax.solvers import table

from . import oracles, quick

SCALES = {"single": (1,), "multi": (1, 2, 3)}
PEOPLE, SIZE = (
    4,
    (160, 64),
)  # output stride 16: 10 x 4 positions, as many as a paper-sized image has, a quarter of the time


@pytest.fixture(scope="module")
def params(shared) -> fcn.Params:
    return weights.load(shared("weights/vgg16_imagenet_conv.npz"))


@pytest.fixture(scope="module")
def photographs(shared) -> dict[str, list[np.ndarray]]:
    """A partial picture of each person by the first camera, a whole one by the second."""
    found: dict[str, list[np.ndarray]] = {"probes": [], "gallery": []}
    with zipfile.ZipFile(shared("data/cuhk03/cuhk03_detected.zip")) as archive:
        for person in range(PEOPLE):
            for side, number in (("probes", 0), ("gallery", 5)):
                content = archive.read(f"cuhk03_detected/{100 * person:04d}_{number:02d}.jpg")
                picture = Image.open(io.BytesIO(content)).convert("RGB").resize(SIZE[::-1], Image.Resampling.BILINEAR)
                found[side].append(np.asarray(picture))
    found["probes"] = [p[16 * i : 96 + 16 * i, : 64 - 16 * (i % 2)] for i, p in enumerate(found["probes"])]
    return found


@pytest.fixture(scope="module")
def maps(params, photographs) -> dict[str, list[np.ndarray]]:
    return {side: extract.maps(params, images, output_stride=16) for side, images in photographs.items()}


@pytest.fixture(scope="module")
def exact(maps) -> dict[str, np.ndarray]:
    return {
        name: np.array([[oracles.distance(p, [g], scales=s) for g in maps["gallery"]] for p in maps["probes"]])
        for name, s in SCALES.items()
    }


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("coder", quick.only(["active_set"], sorted(table.names("training"))))
def test_distances(maps, exact, coder, scales, capsys):
    found = match.distances(maps["probes"], maps["gallery"], scales=SCALES[scales], coder=coder, tol=1e-6)
    off, gap = np.abs(found.distance - exact[scales]).max(), found.gap.max()
    with capsys.disabled():
        print(f"\n{coder}, {scales}: largest error of a distance {off:.1e}, largest gap {gap:.1e}", end="")
    assert np.all(found.lower <= exact[scales]) and np.all(exact[scales] <= found.upper)
    if table.SOLVERS[coder].exact:
        assert off <= 1e-5 and gap <= 1e-6
    else:
        assert off <= 1e-3


@pytest.mark.slow
def test_padded_batch_equals_each_image_alone(params, photographs):
    pictures = [photographs["gallery"][0], *photographs["probes"][:2], photographs["gallery"][1][:97, :53]]
    together = extract.maps(params, pictures, output_stride=16, max_buckets=1, batch_size=4)
    alone = jax.jit(functools.partial(fcn.apply, output_stride=16))
    for picture, found in zip(pictures, together, strict=True):
        expected = np.asarray(alone(params, fcn.preprocess(jnp.asarray(picture))[None])[0][0])
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * expected.max()


@pytest.mark.slow
def test_implicit_gradient_is_finite_on_real_blocks(maps):
    x, y = (blocks.cut(jnp.asarray(maps[side][0]), scales=(1, 2, 3))[0] for side in ("probes", "gallery"))
    for gradient in reconstruction.GRADIENTS:
        found = jax.jit(jax.grad(functools.partial(reconstruction.distance, gradient=gradient), argnums=(0, 1)))(x, y)
        assert all(np.isfinite(leaf).all() and np.abs(leaf).max() < 10 for leaf in found)
