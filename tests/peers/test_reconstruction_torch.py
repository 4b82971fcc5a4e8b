"""Eq. 7 against torch's autograd: with the codes fixed, the gradient of Eq. 4 through the blocks to the maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dsr_jax import blocks, match, reconstruction


def torch_blocks(feature_map: torch.Tensor, scales: tuple[int, ...]) -> torch.Tensor:
    parts = []
    for s in scales:
        pooled = torch.nn.functional.avg_pool2d(feature_map.permute(2, 0, 1)[None], s, stride=1)[0]
        parts.append(pooled.flatten(1).T)
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)


@pytest.mark.parametrize("scales", [(1,), (1, 2)])
def test_gradient_with_the_codes_fixed(scales):
    rng = np.random.default_rng(0)
    probe, image = rng.random((3, 2, 12), np.float32), rng.random((4, 3, 12), np.float32)

    def distance(x, y):
        x, y = (blocks.cut(m, scales=scales)[0] for m in (x, y))
        return reconstruction.distance(x, y)

    value, ours = jax.jit(jax.value_and_grad(distance, argnums=(0, 1)))(jnp.asarray(probe), jnp.asarray(image))
    x, y = (torch.tensor(m, requires_grad=True) for m in (probe, image))
    cut = [torch_blocks(m, scales) for m in (x, y)]
    solved = reconstruction.solve(*(jnp.asarray(b.detach().numpy()) for b in cut))
    theirs = ((cut[0] - torch.tensor(np.asarray(solved.codes)).T @ cut[1]) ** 2).sum(dim=1).mean()
    theirs.backward()
    np.testing.assert_allclose(value, theirs.item(), atol=1e-6)
    for mine, their in zip(ours, (x.grad.numpy(), y.grad.numpy()), strict=True):
        assert np.abs(their).max() > 1e-2
        np.testing.assert_allclose(mine, their, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_tensors_are_maps(dtype):
    """Of a network in training, in any of its types, turned from (n, d, h, w)."""
    batch = torch.rand((3, 32, 6, 3), generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    with pytest.raises(ValueError, match=r"gallery_maps\[0\] .*channels first.*permute\(0, 2, 3, 1\)"):
        match.distances(batch, batch)
    turned = batch.permute(0, 2, 3, 1)
    expected = match.distances(turned.detach().float().numpy(), turned.detach().float().numpy())
    for given in (turned, list(turned)):
        np.testing.assert_allclose(match.distances(given, given).distance, expected.distance, atol=1e-6)
