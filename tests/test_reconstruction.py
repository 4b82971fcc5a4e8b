"""The differentiable distance: its value and both gradients against an independent float64 solver."""

import functools
import inspect

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from dsr_jax import reconstruction
from dsr_jax.solvers import table

from . import dictionaries, oracles, quick

L1 = 0.4
CODERS = sorted(table.names("training"))
parametrize_coder = pytest.mark.parametrize("coder", CODERS)
parametrize_gradient = pytest.mark.parametrize("gradient", reconstruction.GRADIENTS)


@functools.cache
def pair(kind: str = "non-negative", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Blocks (6, 10) of a probe and (8, 10) of a gallery image; some columns of the probe are solved by zero."""
    rng = np.random.default_rng(seed)
    while True:  # two equal atoms: the distance has no derivative
        gallery = dictionaries.draw(rng.integers(1 << 30), count=1, m=8, n=1, d=10, l1=L1, kinds=(kind,)).atoms[0]
        gallery = gallery.astype(np.float64)
        if np.triu(gallery @ gallery.T, 1).max() < 0.999:
            break
    mixed = (rng.random((6, 8)) * (rng.random((6, 8)) < 0.4)) @ gallery
    probe = dictionaries.unit(mixed + 0.3 * rng.standard_normal((6, 10)))
    return probe, gallery


def distance(probe, gallery, **options) -> jax.Array:
    options = {"l1": L1, "tol": 1e-12 if jax.config.jax_enable_x64 else 1e-6, **options}
    return reconstruction.distance(jnp.asarray(probe, float), jnp.asarray(gallery, float), **options)


@functools.cache
def gradients(coder: str = "feature_sign", gradient: str = "envelope", x64: bool = True):
    function = functools.partial(distance, coder=coder, gradient=gradient)
    return jax.jit(jax.value_and_grad(function, argnums=(0, 1)))


def slope(function, probe, gallery, direction, *, h: float = 1e-5) -> float:
    """Central difference along a direction in both arguments."""
    ahead = function(probe + h * direction[0], gallery + h * direction[1], l1=L1)
    behind = function(probe - h * direction[0], gallery - h * direction[1], l1=L1)
    return (ahead - behind) / (2 * h)


def mean_error(probe: np.ndarray, gallery: np.ndarray, *, l1: float) -> float:
    return float(oracles.errors(probe, gallery, l1=l1).mean())


@parametrize_coder
def test_value(coder):
    probe, gallery = pair()
    found, _ = gradients(coder, x64=False)(probe, gallery)
    within = 1e-6 if table.SOLVERS[coder].exact else 1e-3
    np.testing.assert_allclose(found, mean_error(probe, gallery, l1=L1), atol=within)


@pytest.mark.parametrize(
    ("gradient", "function"), [("envelope", oracles.envelope), ("implicit", mean_error)], ids=["envelope", "implicit"]
)
@pytest.mark.parametrize("kind", ["non-negative", "gaussian", "averages"])
def test_gradient_is_the_finite_difference(gradient, function, kind, x64):
    """Eq. 7 is the derivative of twice the coding minimum; the implicit gradient that of Eq. 4."""
    rng = np.random.default_rng(1)
    compared = 0
    for seed in range(4):
        probe, gallery = pair(kind, seed)
        value, (by_probe, by_gallery) = gradients(gradient=gradient)(probe, gallery)
        np.testing.assert_allclose(value, mean_error(probe, gallery, l1=L1), atol=1e-10)
        for _ in range(3):
            direction = rng.standard_normal(probe.shape), rng.standard_normal(gallery.shape)
            expected = slope(function, probe, gallery, direction)
            found = np.sum(by_probe * direction[0]) + np.sum(by_gallery * direction[1])
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)
            compared += abs(expected) > 1e-3
    assert compared >= 6, "slopes that are all zero prove nothing"


@pytest.mark.slow
@parametrize_gradient
def test_all_coders_give_one_gradient(gradient, x64):
    probe, gallery = pair()
    first, *others = (gradients(coder, gradient)(probe, gallery)[1] for coder in CODERS)
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.slow
@parametrize_coder
@parametrize_gradient
@pytest.mark.parametrize("kind", dictionaries.KINDS)
def test_gradient_is_finite_on_degenerate_dictionaries(coder, gradient, kind):
    """Duplicate and dependent atoms make the active system singular; float32 must survive it."""
    drawn = dictionaries.draw(5, count=1, m=8, n=10, d=10, l1=L1, kinds=(kind,))
    value, found = gradients(coder, gradient, x64=False)(drawn.columns[0], drawn.atoms[0])
    assert np.isfinite(value)
    for leaf in found:
        assert np.isfinite(leaf).all() and np.abs(leaf).max() < 100


@pytest.mark.slow
@parametrize_gradient
def test_jit_vmap_and_checkpoint(gradient):
    pairs = [pair(seed=seed) for seed in range(3)]
    probes, galleries = (jnp.asarray(np.stack(side), jnp.float32) for side in zip(*pairs, strict=True))
    function = functools.partial(distance, gradient=gradient)
    loop = [gradients(gradient=gradient, x64=False)(x, y) for x, y in zip(probes, galleries, strict=True)]
    single = jax.value_and_grad(function, argnums=(0, 1))
    remade = jax.value_and_grad(jax.checkpoint(function), argnums=(0, 1))
    for way in (jax.vmap(single), jax.vmap(remade)):
        values, found = jax.jit(way)(probes, galleries)
        for i, (value, expected) in enumerate(loop):
            np.testing.assert_allclose(values[i], value, atol=1e-6)
            for a, b in zip(found, expected, strict=True):
                np.testing.assert_allclose(a[i], b, atol=2e-5)


def _loops(jaxpr) -> list[str]:
    """Names of all loops and calls of the host in a program, nested ones too."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("while", "scan", "pure_callback"):
            found.append(equation.primitive.name)
        for sub in jax.extend.core.jaxprs_in_params(equation.params):
            found += _loops(sub)
    return found


@parametrize_coder
@parametrize_gradient
def test_one_solve_and_nothing_unrolled(coder, gradient):
    """The gradient's program has the forward pass' one solver, a loop or a call of the host, and no other."""
    probe, gallery = (jnp.asarray(v, jnp.float32) for v in pair())
    function = functools.partial(distance, coder=coder, gradient=gradient)
    forward = jax.make_jaxpr(function)(probe, gallery)
    both = jax.make_jaxpr(jax.value_and_grad(function, argnums=(0, 1)))(probe, gallery)
    assert _loops(forward.jaxpr) == _loops(both.jaxpr) != []


def _products(jaxpr) -> list:
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for sub in jax.extend.core.jaxprs_in_params(equation.params):
            found += _products(sub)
    return found


@parametrize_coder
def test_products_of_the_certificate_are_of_full_precision(coder):
    """An accelerator's default precision (TF32, bfloat16) would break the certificate."""
    probe, gallery = (jnp.asarray(v, jnp.float32) for v in pair())
    program = jax.make_jaxpr(functools.partial(reconstruction.solve, coder=coder))(probe, gallery)
    products = _products(program.jaxpr)
    assert len(products) >= 2
    assert set(products) == {(jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("coder", "gradient"),
    [
        ("active_set", "implicit"),
        ("homotopy", "envelope"),
        ("homotopy", "implicit"),
        ("feature_sign", "implicit"),
        ("proximal", "envelope"),
    ],
)
def test_padding_is_inert(coder, gradient):
    """Zero gallery rows and masked probe rows change neither the distance nor its gradient."""
    probe, gallery = pair()
    value, found = gradients(coder, gradient, x64=False)(probe, gallery)
    more = np.concatenate([probe, np.zeros((3, 10))]), np.concatenate([gallery, np.zeros((4, 10))])
    valid = jnp.arange(9) < 6
    function = functools.partial(distance, coder=coder, gradient=gradient, valid=valid)
    padded, grown = jax.jit(jax.value_and_grad(function, argnums=(0, 1)))(*more)
    atol = 2e-6
    np.testing.assert_allclose(padded, value, atol=atol)
    np.testing.assert_allclose(grown[0][:6], found[0], atol=atol)
    np.testing.assert_allclose(grown[1][:8], found[1], atol=atol)
    assert not np.any(grown[0][6:])


def test_what_the_codes_are_like_is_told_beside_the_distance():
    rng = np.random.default_rng(0)
    x, y = (
        jnp.asarray(blocks / np.linalg.norm(blocks, axis=1, keepdims=True), jnp.float32)
        for blocks in (np.abs(rng.standard_normal((5, 8))), np.abs(rng.standard_normal((7, 8))))
    )
    valid = jnp.array([True, True, False, True, True])
    solution = reconstruction.solve(x, y, l1=0.1)
    distance, coding = jax.jit(functools.partial(reconstruction.measured, l1=0.1))(x, y, valid=valid)
    np.testing.assert_allclose(distance, reconstruction.distance(x, y, l1=0.1, valid=valid), rtol=1e-6)
    used = np.asarray(valid)
    np.testing.assert_allclose(coding.nonzero, np.count_nonzero(solution.codes, axis=0)[used].mean(), rtol=1e-6)
    np.testing.assert_allclose(coding.gap, np.asarray(solution.gap)[used].mean(), rtol=1e-5)
    assert float(coding.nonzero) > 1

    def told(y):
        return sum(reconstruction.measured(x, y, l1=0.1)[1])

    assert not np.any(jax.grad(told)(y)), "nothing is learnt from it"


def test_masked_blocks_do_not_count_even_when_they_are_not_zero():
    probe, gallery = pair()
    masked = jax.jit(lambda valid: distance(probe, gallery, valid=valid))
    some = masked(jnp.arange(6) < 4)
    np.testing.assert_allclose(some, mean_error(probe[:4], gallery, l1=L1), atol=1e-6)
    assert np.isnan(masked(jnp.zeros(6, bool)))


def test_order_of_positions_does_not_matter():
    probe, gallery = pair()
    order, rows = np.random.default_rng(0).permutation(8), np.random.default_rng(1).permutation(6)
    value, (by_probe, by_gallery) = gradients(x64=False)(probe, gallery)
    again, (of_probe, of_gallery) = gradients(x64=False)(probe[rows], gallery[order])
    np.testing.assert_allclose(again, value, atol=1e-6)
    np.testing.assert_allclose(of_probe, by_probe[rows], atol=1e-5)
    np.testing.assert_allclose(of_gallery, by_gallery[order], atol=1e-5)


def test_an_image_is_near_itself_and_one_means_nothing_rebuilt():
    probe, _ = pair()
    itself = np.concatenate([probe, probe[:2]])
    near, _ = gradients(x64=False)(probe, itself)
    np.testing.assert_allclose(near, mean_error(probe, itself, l1=L1), atol=1e-6)
    assert float(near) <= L1**2 + 1e-6  # w = 1 - l1 on the block itself
    far = np.eye(10)
    nothing, _ = gradients(x64=False)(far[:6], far[[6, 7, 8, 9, 6, 7, 8, 9]])
    np.testing.assert_allclose(nothing, 1.0)


def test_gradient_scales_with_its_cotangent():
    probe, gallery = (jnp.asarray(v, jnp.float32) for v in pair())
    once = gradients(x64=False)(probe, gallery)[1][0]
    pushed = jax.jit(jax.grad(lambda x: -3 * distance(x, gallery)))(probe)
    np.testing.assert_allclose(pushed, -3 * once, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("probe", "gallery", "options", "words"),
    [
        ((2, 3), (2, 4), {}, "same length d, got 3 and 4"),
        ((0, 3), (2, 3), {}, "must not be empty"),
        ((2, 3), (2, 3), {"l1": 0.0}, "l1 must be a positive number, got 0.0"),
        ((2, 3), (2, 3), {"l1": float("nan")}, "l1 must be a positive number, got nan"),
        ((2, 3), (2, 3), {"coder": "lars"}, "coder must be .*one of"),
        ((2, 3), (2, 3), {"gradient": "unrolled"}, "gradient must be one of"),
        ((2, 3), (2, 3), {"valid": jnp.ones(3, bool)}, "valid must"),
    ],
    ids=str,
)
def test_errors_name_the_argument(probe, gallery, options, words):
    unchecked = inspect.unwrap(reconstruction.distance)  # as users have it, without the tests' checks of annotations
    with pytest.raises(ValueError, match=words):
        unchecked(jnp.ones(probe), jnp.ones(gallery), **options)


@pytest.mark.parametrize("kind", [jnp.bfloat16, jnp.float16, jnp.int32])
def test_blocks_of_too_little_precision_are_an_error(kind):
    blocks = jnp.ones((2, 3), kind)
    for function in (reconstruction.distance, reconstruction.solve):
        with pytest.raises(ValueError, match=f"must both be float32.*got {kind.__name__}"):
            inspect.unwrap(function)(blocks, blocks)


def test_arrays_of_numpy_in_float64_and_lists_are_blocks():
    x, y = np.array([[1.0, 0.0]]), [[0.8, 0.6]]
    assert inspect.unwrap(reconstruction.distance)(x, y) == pytest.approx(0.52)
    assert inspect.unwrap(reconstruction.solve)(x, y).codes.tolist() == [[pytest.approx(0.4)]]


def test_ranks_are_checked_before_shapes():
    with pytest.raises(ValueError, match="vmap over batches"):
        reconstruction.check_blocks(jnp.ones((1, 2, 3)), jnp.ones((2, 3)), 0.4)
    with pytest.raises(ValueError, match="coder must be .*one of"):
        reconstruction.solve(jnp.ones((2, 3)), jnp.ones((2, 3)), coder="lars")


@pytest.mark.parametrize("gradient", quick.only(["envelope"], list(reconstruction.GRADIENTS)))
@pytest.mark.parametrize("coder", quick.only(["active_set"], ["active_set", "homotopy"]))
def test_several_probes_together_are_each_alone(coder, gradient):
    """Distances, what the codes are like, and gradients; masked blocks and a probe without any."""
    rng = np.random.default_rng(4)
    probes, gallery = np.abs(rng.standard_normal((3, 5, 10))), np.abs(rng.standard_normal((6, 10)))
    probes, gallery = (b / np.linalg.norm(b, axis=-1, keepdims=True) for b in (probes, gallery))
    probes, gallery = jnp.asarray(probes, jnp.float32), jnp.asarray(gallery, jnp.float32)
    valid = jnp.asarray([[True] * 5, [True] * 3 + [False] * 2, [False] * 5])
    weigh = jnp.asarray([1.0, 2.0, 0.0])
    options = {"l1": 0.2, "coder": coder, "gradient": gradient}

    def together(x, y):
        distances, coding = reconstruction.measured(x, y, valid=valid, **options)
        return jnp.sum(jnp.where(weigh > 0, weigh * distances, 0)), (distances, coding)

    def alone(x, y):
        found = jax.vmap(lambda one, mask: reconstruction.measured(one, y, valid=mask, **options))(x, valid)
        return jnp.sum(jnp.where(weigh > 0, weigh * found[0], 0)), found

    differentiated = [jax.jit(jax.value_and_grad(f, argnums=(0, 1), has_aux=True)) for f in (together, alone)]
    ((_, first), slopes), ((_, second), expected) = (f(probes, gallery) for f in differentiated)
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), (first, slopes), (second, expected))
    assert np.isnan(first[0][2]) and np.isfinite(first[0][:2]).all()
    with pytest.raises(ValueError, match=r"probe_blocks\[2\] .*nothing to compare"):
        reconstruction.distance(probes, gallery, valid=valid, **options)
