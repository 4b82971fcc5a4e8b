"""One dictionary of everybody's blocks: the authors' algorithm, optimal over all atoms, whatever the atoms are."""

import io
import re
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dsr_jax import extract, match, weights
from dsr_jax.matching.entries import Entries
from dsr_jax.solvers import joint

from . import dictionaries, oracles

AUTHORS = {"dictionary": "joint", "pooling": "max", "scales": (1, 2, 3, 4), "probe_scales": (1,)}
D = 24  # so many that no two people have the same block: their shares would be anybody's


def feature_map(kind: str, height: int, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((height, width, D))
    values = {"signed": values, "sparse": np.maximum(values, 0), "zero": 0 * values}.get(kind, np.abs(values))
    return values.astype(np.float32)


def random_maps(*sizes: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    return [feature_map("sparse", *size, seed + i) for i, size in enumerate(sizes)]


PROBES, GALLERY = random_maps((3, 2), (2, 4), (1, 1)), random_maps((4, 3), (5, 2), (2, 2), (4, 4), (3, 3), seed=9)
LABELS = ["b", "a", "b", "c", "a"]
PEOPLE = [[0, 2], [1, 4], [3]]


def distances(probes=PROBES, gallery=GALLERY, **options) -> match.Distances:
    return match.distances(probes, gallery, **AUTHORS | options)


def unit(values: np.ndarray) -> np.ndarray:
    return dictionaries.unit(values).astype(np.float32)


def blocks(count: int, d: int, *, seed: int, power: int = 1) -> np.ndarray:
    """Non-negative unit blocks; the larger the power, the less they have in common."""
    return unit(np.random.default_rng(seed).random((count, d)) ** power)


# The authors' algorithm


@pytest.mark.parametrize("boost", [0.0, 1.2])
@pytest.mark.parametrize("l1", [0.1, 0.4])
def test_distances_are_those_of_the_authors_algorithm(l1, boost):
    found = distances(identities=LABELS, l1=l1, boost=boost)
    expected = [oracles.authors(p, [[GALLERY[g] for g in own] for own in PEOPLE], l1=l1, boost=boost) for p in PROBES]
    assert found.identities == ("b", "a", "c") and found.distance.dtype == np.float32
    np.testing.assert_allclose(found.distance, expected, atol=1e-6)
    assert np.isnan(found.lower).all() and np.isnan(found.upper).all() and (found.gap <= 2e-6).all()


kinds = st.sampled_from(["non-negative", "signed", "sparse", "zero"])
sizes = st.tuples(kinds, st.integers(1, 5), st.integers(1, 4))


@pytest.mark.slow
@settings(max_examples=30)
@given(
    st.lists(sizes.filter(lambda drawn: drawn[0] != "zero"), min_size=1, max_size=3),
    st.lists(sizes, min_size=1, max_size=6),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.3, 1.2]),
    st.sampled_from([0.15, 0.4]),
)
def test_any_maps_and_shots(probes, gallery, shots, boost, l1):
    probes = [feature_map(*size, seed) for seed, size in enumerate(probes)]
    gallery = [feature_map(*size, 50 + seed) for seed, size in enumerate(gallery)]
    labels = [i // shots for i in range(len(gallery))]
    found = distances(probes, gallery, identities=labels, boost=boost, l1=l1)
    people = [[m for m, own in zip(gallery, labels, strict=True) if own == label] for label in sorted(set(labels))]
    expected = [oracles.authors(p, people, boost=boost, l1=l1) for p in probes]
    np.testing.assert_allclose(found.distance, expected, atol=1e-5)


@pytest.mark.slow
def test_real_maps(shared):
    """Photographs of six people of CUHK03, three shots each, through VGG-16."""
    params, size = weights.load(shared("weights/vgg16_imagenet_conv.npz")), (96, 48)
    pictures = {}
    with zipfile.ZipFile(shared("data/cuhk03/cuhk03_detected.zip")) as archive:
        for person in range(6):
            for number in (0, 5, 6, 7):
                content = archive.read(f"cuhk03_detected/{20 * person:04d}_{number:02d}.jpg")
                picture = Image.open(io.BytesIO(content)).convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR)
                pictures[person, number] = np.asarray(picture)
    probes = extract.maps(params, [pictures[person, 0][16:80] for person in range(3)], output_stride=16)
    gallery = extract.maps(
        params, [pictures[person, shot] for person in range(6) for shot in (5, 6, 7)], output_stride=16
    )
    found = distances(probes, gallery, identities=[i // 3 for i in range(18)], boost=1.2)
    expected = [oracles.authors(p, [gallery[3 * i : 3 * i + 3] for i in range(6)]) for p in probes]
    np.testing.assert_allclose(found.distance, expected, atol=1e-5)


def test_other_scales_and_poolings():
    found = distances(scales=(1, 2), pooling="average", boost=0.5)
    expected = [oracles.authors(p, [[m] for m in GALLERY], scales=(1, 2), pooling="average", boost=0.5) for p in PROBES]
    np.testing.assert_allclose(found.distance, expected, atol=1e-6)


def test_one_entry_is_the_dictionary_of_an_image():
    for options in ({"scales": (1, 2, 3), "pooling": "average"}, {"scales": (1, 2), "pooling": "max"}):
        options |= {"probe_scales": None, "identities": ["x"] * 3}
        joined = distances(PROBES, GALLERY[:3], **options)
        alone = distances(PROBES, GALLERY[:3], **options | {"dictionary": "image"})
        np.testing.assert_allclose(joined.distance, alone.distance, atol=2e-6)


def test_one_atom_is_a_soft_threshold():
    rng = np.random.default_rng(0)
    x, y = unit(np.abs(rng.standard_normal((20, D)))), unit(np.abs(rng.standard_normal((1, D))))
    for l1, boost in [(0.4, 0.0), (0.4, 1.2), (0.9, 0.0), (2.0, 1.2)]:
        found = joint.code(x, y, np.zeros(1, int), l1=l1, boost=boost)
        code = np.maximum((1 + boost) * (x @ y[0]) - l1, 0)
        np.testing.assert_allclose(found.weight[:, 0], code, atol=1e-6)
        np.testing.assert_allclose(found.error[:, 0], np.sum((x - code[:, None] * y) ** 2, axis=1), atol=1e-6)


def test_an_entry_alone_may_overshoot():
    """Two atoms that mend each other, in two entries: the error of each is above that of no codes at all."""
    x, y = np.float32([[1, 0]]), unit(np.array([[0.2, 0.98], [0.2, -0.98]]))
    assert (joint.code(x, y, np.arange(2), l1=0.01).error > 2).all()
    assert joint.code(x, y, np.zeros(2, int), l1=0.01).error[0, 0] < 0.01


# Optimal over all atoms


def codes_of(columns: np.ndarray, atoms: np.ndarray, found: joint.Shares) -> np.ndarray:
    """(C, M) codes, where every atom is an entry: from their sizes, with the sign that explains the errors."""
    x, y = columns.astype(np.float64), atoms.astype(np.float64)
    across, energy = x @ y.T, np.sum(x * x, axis=1)[:, None] + found.weight**2 * np.sum(y * y, axis=1)
    plus, minus = (np.abs(energy - 2 * sign * found.weight * across - found.error) for sign in (1, -1))
    return np.where(plus <= minus, found.weight, -found.weight)


def broken(columns: np.ndarray, atoms: np.ndarray, *, l1: float, boost: float = 0.0) -> np.ndarray:
    """How far |(1 + boost) Y'x - Y'Yw| exceeds l1, and active atoms miss it, in units of l1."""
    found = joint.code(columns, atoms, np.arange(len(atoms)), l1=l1, boost=boost)
    codes, y = codes_of(columns, atoms, found), atoms.astype(np.float64)
    slope = ((1 + boost) * columns.astype(np.float64) - codes @ y) @ y.T
    miss = np.where(codes, np.abs(slope - l1 * np.sign(codes)), np.abs(slope) - l1)
    assert (codes != 0).any() and found.gap.max() <= 5e-6 * (1 + boost) ** 2
    return miss.max() / l1


@pytest.mark.parametrize(
    ("count", "d", "power", "l1", "boost"),
    [
        (5000, 64, 2, 0.4, 0.0),
        (5000, 64, 2, 0.4, 1.2),
        (3000, 512, 4, 0.1, 0.0),
        (2000, 2048, 8, 0.2, 0.0),
        (150, 2048, 4, 1e-3, 0.0),
        (400, 20, 1, 1e-3, 1.2),
    ],
)
def test_working_sets_are_enough(count, d, power, l1, boost):
    atoms = blocks(count, d, seed=0, power=power)
    mixtures = unit(atoms[:6] + atoms[6:12] + 0.3 * blocks(6, d, seed=2, power=power))
    columns = np.concatenate([blocks(4, d, seed=1, power=power), mixtures, atoms[:2]])
    assert broken(columns, atoms, l1=l1, boost=boost) <= 1e-5


def test_signed_atoms_and_negative_codes():
    rng = np.random.default_rng(3)
    columns, atoms = (unit(rng.standard_normal((n, 40))) for n in (8, 600))
    assert broken(columns, np.concatenate([atoms, -atoms[:50]]), l1=0.2) <= 1e-5


@pytest.mark.slow
@given(
    st.sampled_from(dictionaries.KINDS), st.integers(0, 1000), st.sampled_from([0.05, 0.4]), st.sampled_from([0, 1.2])
)
def test_degenerate_dictionaries(kind, seed, l1, boost):
    """Whatever is not unique, the residual of everything together is, and the objective."""
    atoms, columns, _ = (
        part[0] for part in dictionaries.draw(seed, count=1, m=70, n=6, d=5, l1=l1 / (1 + boost), kinds=(kind,))
    )
    found = joint.code(columns, atoms, np.zeros(70, int), l1=l1, boost=boost)
    for c, x in enumerate(columns.astype(np.float64)):
        rest = oracles.residual(x, atoms, l1=l1 / (1 + boost))
        expected = x - (1 + boost) * (x - rest)
        np.testing.assert_allclose(found.error[c, 0], expected @ expected, atol=1e-5)
    each = joint.code(columns, atoms, np.arange(70), l1=l1, boost=boost)
    np.testing.assert_allclose(each.weight.sum(axis=1), found.weight[:, 0], atol=1e-5)
    assert each.gap.max() <= 5e-6 * (1 + boost) ** 2


def test_rounds_are_few_where_all_atoms_are_needed(monkeypatch):
    """A working set at most doubles, so that it is complete in a few rounds."""
    rounds, solved = [], joint._solved
    monkeypatch.setattr(joint, "_solved", lambda columns, *rest: rounds.append(columns) or solved(columns, *rest))
    atoms = np.eye(300, dtype=np.float32)
    found = joint.code(unit(np.ones((1, 300))), atoms, np.arange(300), l1=0.01)
    np.testing.assert_allclose(found.weight, 300**-0.5 - 0.01, atol=1e-7)
    assert len(rounds) == 5, "of 32, 64, 128, 256 and 300 atoms"


def test_nearly_equal_atoms_of_many_entries_share():
    """y_j = (x + 0.01 e_j) / s: by symmetry all codes are s^2 (1 / s - l1) / (n + 0.01^2); a few would nearly do."""
    count, noise, l1 = 64, 0.01, 0.4
    atoms = noise * np.eye(count, count + 1)
    atoms[:, -1] = 1
    x, s = np.zeros((1, count + 1), np.float32), np.sqrt(1 + noise**2)
    x[0, -1] = 1
    found = joint.code(x, unit(atoms), np.arange(count), l1=l1)
    np.testing.assert_allclose(found.weight, s**2 * (1 / s - l1) / (count + noise**2), rtol=1e-3)


def test_a_large_weight_stays_large_however_loud_the_boost():
    found = distances(l1=100.0, boost=30.0).distance
    np.testing.assert_allclose(found, 1, atol=1e-6)


def test_no_codes_leave_ties():
    """Everybody at a distance of 1, exactly as far."""
    found = distances(l1=3.0, boost=1.2).distance
    np.testing.assert_allclose(found, 1, atol=1e-6)
    assert (found == found[:, :1]).all()


def test_entries_without_a_part_are_equally_far():
    x = np.eye(5, dtype=np.float32)
    found = joint.code(x[:1], x, np.arange(5), l1=0.4)
    np.testing.assert_allclose(found.error[0], [0.16, 1, 1, 1, 1], atol=1e-7)
    assert len(set(found.error[0, 1:])) == 1 and found.weight[0].nonzero()[0].tolist() == [0]


# What must not matter


def test_copies_of_the_same_person_change_nothing():
    labels = [*LABELS, *LABELS]
    found, expected = (
        distances(gallery=GALLERY * 2, identities=labels, boost=1.2),
        distances(identities=LABELS, boost=1.2),
    )
    np.testing.assert_allclose(found.distance, expected.distance, atol=1e-6)


def test_copies_in_another_entry_share_the_codes():
    atoms, columns = blocks(40, 16, seed=0, power=3), blocks(10, 16, seed=1, power=3)
    owners = np.arange(40) // 4
    expected = joint.code(columns, atoms, owners, l1=0.2)
    found = joint.code(columns, np.concatenate([atoms, atoms[:4]]), np.append(owners, [10] * 4), l1=0.2)
    np.testing.assert_allclose(found.weight[:, 0] + found.weight[:, 10], expected.weight[:, 0], atol=1e-6)
    np.testing.assert_allclose(found.weight[:, 1:10], expected.weight[:, 1:], atol=1e-6)
    np.testing.assert_allclose(found.error[:, 1:10], expected.error[:, 1:], atol=1e-6)


def test_zero_blocks_and_maps_are_inert():
    """A dead position has nothing to rebuild and rebuilds nothing; a dead map is as far as no codes."""
    holes = [m.copy() for m in GALLERY]
    for m in holes:
        m[0, 0] = 0
    probe = PROBES[0].copy()
    probe[0] = 0
    found = distances(probe, [*holes, 0 * GALLERY[0]], boost=1.2)
    expected = oracles.authors(probe, [[m] for m in [*holes, 0 * GALLERY[0]]])
    np.testing.assert_allclose(found.distance[0], expected, atol=1e-6)
    np.testing.assert_allclose(found.distance[0, -1], 1, atol=1e-6)
    assert found.counted.round(6).tolist() == [0.666667]  # of its six positions two are dead
    np.testing.assert_allclose(distances(probe, holes, boost=1.2).distance[0], found.distance[0, :-1], atol=1e-6)


def test_order_of_the_gallery():
    expected = distances(boost=1.2).distance
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        found = distances(gallery=[GALLERY[g] for g in order], boost=1.2)
        np.testing.assert_allclose(found.distance, expected[:, order], atol=1e-6)


def test_scaling_a_map_changes_nothing():
    found = distances(probes=[1e20 * m for m in PROBES], gallery=[m * 10.0**i for i, m in enumerate(GALLERY)])
    np.testing.assert_allclose(found.distance, distances().distance, atol=1e-6)


def test_a_gallery_is_its_maps():
    gallery = match.Gallery.build(GALLERY, identities=LABELS, scales=(1, 2, 3, 4), pooling="max")
    found = match.distances(PROBES, gallery, probe_scales=(1,), dictionary="joint", boost=1.2)
    expected = distances(identities=LABELS, boost=1.2)
    assert found.identities == expected.identities
    np.testing.assert_array_equal(found.distance, expected.distance)


def test_parts_and_memory():
    """As little memory as the error asks for is enough, and gives the same."""
    probes = random_maps(*[(1 + i % 3, 2) for i in range(9)])
    expected = distances(probes, boost=1.2)
    with pytest.raises(
        ValueError, match=r"max_bytes must be at least \d+ for a joint dictionary of \d+ x 24 blocks"
    ) as e:
        distances(probes, boost=1.2, max_bytes=1000)
    least = int(re.search(r"at least (\d+)", str(e.value)).group(1))
    for max_bytes in (least, 2 * least):
        found = distances(probes, boost=1.2, max_bytes=max_bytes)
        np.testing.assert_allclose(found.distance, expected.distance, atol=1e-6)
        np.testing.assert_allclose(found.gap, expected.gap, atol=1e-6)
    with pytest.raises(ValueError, match=f"at least {least} .* got {least - 1}"):
        distances(probes, boost=1.2, max_bytes=least - 1)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 20))
def test_parts_are_consecutive_and_within_their_limit(counts, limit):
    found = list(joint.parts(np.array(counts), limit))
    assert [p for first, last in found for p in range(first, last)] == list(range(len(counts)))
    assert all(sum(counts[first:last]) <= limit or last - first == 1 for first, last in found)
    assert all(sum(counts[a:d]) > limit for (a, _), (_, d) in zip(found, found[1:], strict=False)), "none too small"


def test_blocks_of_entries():
    entries = Entries(GALLERY, PEOPLE, (1, 2), "max")
    expected = [
        np.concatenate([oracles.blocks(GALLERY[i], scales=(1, 2), pooling="max") for i in own]) for own in PEOPLE
    ]
    np.testing.assert_allclose(entries.blocks(), np.concatenate(expected), atol=1e-7)
    np.testing.assert_allclose(entries.blocks(1, 2), expected[1], atol=1e-7)
    assert entries.blocks().dtype == np.float32 and entries.counts.tolist() == [len(part) for part in expected]


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dictionary": "both"}, r"dictionary must be one of \('image', 'joint'\), got 'both'"),
        ({"dictionary": "image", "boost": 1.2}, r"boost belongs to dictionary='joint', got boost=1\.2"),
        ({"boost": -0.1}, r"boost must be a number from 0 to 1000, got -0\.1; the authors use 1\.2"),
        ({"boost": np.nan}, "boost must be a number from 0 to 1000, got nan"),
        ({"boost": np.inf}, "boost must be a number from 0 to 1000, got inf"),
        ({"coder": "ridge"}, "coder must be 'auto' or 'active_set' with dictionary='joint', got 'ridge'"),
        ({"coder": "proximal"}, "coder must be 'auto' or 'active_set'.*got 'proximal'"),
        ({"l1": 0}, "l1 must be a positive number, got 0"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        distances(**options)
