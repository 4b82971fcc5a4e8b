"""From pictures to batches: who is in a batch, whoever asks and whenever; what is held in memory; who waits."""

import collections
import functools
import io
import json
import pickle
import threading

import grain
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data import decoded, sampling, views
from data.source import Source
from dsr_jax import weights
from experiments import benchmark_pipeline, finetune, pretrain, workdir
from experiments.training import batches, own_size, stream
from tests.runners import SMALL, call, prepared

CLASSES = np.repeat(np.arange(6), [2, 3, 4, 4, 5, 1])
CAMERAS = np.arange(len(CLASSES)) % 2
PLAIN = views.Augmentation(0.0, 0.0, 0.0, 0.0)
SHAPES = [(24 + 8 * (i % 5), 24 + 4 * (i % 3)) for i in range(len(CLASSES))]


def pictures(shapes, *, broken=()):
    """A source of noise; a broken picture ends in the middle."""
    records = []
    for i, (height, width) in enumerate(shapes):
        buffer = io.BytesIO()
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "PNG")
        records.append({"image": buffer.getvalue()[: 200 if i in broken else None]})
    names = [f"{i}.png" for i in range(len(shapes))]
    return Source(records, identities=CLASSES[: len(shapes)], cameras=[0] * len(shapes), names=names, title="toy/train")


def crowd(shapes=SHAPES, **options):
    return batches.People(pictures(shapes, **options), np.arange(len(shapes)), CLASSES, CAMERAS)


def one_size(limit=10**9, **options):
    return batches.ImageViews(crowd(**options), size=(32, 24), augmentation=views.Augmentation(), limit=limit)


def unresized(buckets=3, limit=10**9, augmentation=PLAIN, **options):
    drawn = {"augmentation": augmentation, "limit": limit}
    return own_size.OwnSizeViews(crowd(**options), stride=8, buckets=buckets, **drawn)


def identification(drawn=None, patch_share=0.5, **how):
    how = batches.Batching(**{"batch_size": 4, "seed": 3} | how)
    return batches.identification(drawn or one_size(), CLASSES, how, patch_share=patch_share)


def pairs(positives=15, negatives=9, **how):
    how = batches.Batching(**{"batch_size": 4, "seed": 3} | how)
    return batches.pairs(one_size(), CLASSES, CAMERAS, how, positives=positives, negatives=negatives)


KINDS = {
    "shuffled": identification,
    "balanced": functools.partial(identification, per_identity=2),
    "own sizes": lambda **options: identification(unresized(), **options),
    "pairs": pairs,
    "balanced pairs": functools.partial(pairs, per_identity=2),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# The same batches for everybody


def test_without_flags_the_order_is_that_of_shuffled_epochs():
    """What runs before sampling could be chosen were given, draw for draw."""

    def draw(i, rng):
        return {"i": i, "kind": rng.random() < 0.5, "draw": rng.integers(1000)}

    class Telling:
        def padded(self, i):
            return (2,)

        def whole(self, i, rng):
            return np.array([i, rng.integers(1000)]), np.array([0, 0])

        def patch(self, i, rng):
            return np.array([i, rng.integers(1000)]), np.array([1, 1])

    plain = grain.MapDataset.source(np.arange(len(CLASSES))).seed(3).shuffle().repeat().random_map(draw).batch(4)
    found = identification(Telling())
    for step in (0, 1, 7, 100):
        np.testing.assert_array_equal(found[step]["inputs"], np.stack([plain[step]["i"], plain[step]["draw"]], axis=1))
        np.testing.assert_array_equal(found[step]["sizes"][:, 0] == 1, plain[step]["kind"])


@every_kind
@pytest.mark.parametrize("threads", [0, 1, 2, 4])
def test_threads_and_a_start_at_any_step_change_nothing(kind, threads):
    dataset = KINDS[kind]()
    expected = [dataset[step] for step in range(9)]
    for start in (0, 1, 4, 8) if threads % 2 else range(10):
        with stream.Stream(dataset, start=start, stop=9, threads=threads) as batches_from:
            found = list(batches_from)
        assert len(found) == 9 - start
        for batch, wanted in zip(found, expected[start:], strict=True):
            assert_same(batch, wanted)


@every_kind
@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_all_processes_are_the_batch(kind, processes):
    whole = KINDS[kind]()
    shares = [KINDS[kind](share=batches.Share(process, processes)) for process in range(processes)]
    for step in (0, 1, 2, 11):
        parts = [share[step] for share in shares]
        assert_same({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, whole[step])


@every_kind
def test_another_seed_gives_other_batches(kind):
    first, second = KINDS[kind]()[1], KINDS[kind](seed=4)[1]
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(first.values(), second.values(), strict=True))


@pytest.mark.slow
def test_worker_processes_give_the_same():
    """Grain's, which the runners do not use: a dataset pickles, and fills its memory again where it is unpickled."""
    dataset = identification(per_identity=2)
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    found = iter(dataset[2:5].to_iter_dataset(options).mp_prefetch(grain.MultiprocessingOptions(num_workers=2)))
    got = [jax.tree.map(np.array, batch) for batch in found]
    found.close()
    assert len(got) == 3
    for step, batch in enumerate(got, start=2):
        assert_same(batch, dataset[step])


# Balanced batches

people = st.lists(st.integers(1, 5), min_size=1, max_size=9).map(lambda counts: np.repeat(range(len(counts)), counts))


@given(people, st.data())
def test_a_balanced_batch_holds_k_images_of_each_of_p_people_who_come_equally_often(labels, data):
    count, per_person = labels[-1] + 1, data.draw(st.integers(1, 4), "K")
    together = data.draw(st.integers(1, count), "P")
    order = sampling.Balanced(labels, batch_size=together * per_person, per_person=per_person, seed=1)
    rounds, appearances = -(-count // together), collections.Counter()
    for number in range(5):
        for step in range(number * rounds, (number + 1) * rounds):
            places = np.arange(step * together * per_person, (step + 1) * together * per_person)
            positions = np.array([order[place] for place in places])
            found = collections.Counter(labels[positions].tolist())
            assert len(found) == together and set(found.values()) == {per_person}
            for who in found:
                own = collections.Counter(positions[labels[positions] == who].tolist())
                available = np.count_nonzero(labels == who)
                assert len(own) == min(per_person, available) and max(own.values()) - min(own.values()) <= 1
            appearances.update(found.keys())
        assert len(appearances) == count and max(appearances.values()) - min(appearances.values()) <= 1


@given(people.filter(lambda labels: labels[-1] > 0), st.data())
def test_a_batch_of_similar_people_is_one_and_others_of_the_most_similar(labels, data):
    count, per_person = labels[-1] + 1, data.draw(st.integers(1, 3), "K")
    near = data.draw(st.integers(1, count - 1), "n")
    together = data.draw(st.integers(1, near + 1), "P")
    similar = np.array([np.roll(np.arange(count), -who)[1 : near + 1] for who in range(count)])
    order = sampling.Similar(labels, similar, batch_size=together * per_person, per_person=per_person, seed=1)
    for number in range(2):
        firsts = []
        for step in range(number * count, (number + 1) * count):
            places = range(step * together * per_person, (step + 1) * together * per_person)
            who = labels[[order[place] for place in places]][::per_person]
            assert len(set(who.tolist())) == together and set(who[1:].tolist()) <= set(similar[who[0]].tolist())
            firsts.append(who[0])
        assert sorted(firsts) == list(range(count))


def test_people_with_few_images_are_counted_and_said(capsys):
    batch = identification(per_identity=4, batch_size=8)[0]
    assert sorted(collections.Counter(batch["identities"].tolist()).values()) == [4, 4]
    assert "3 of 6 identities have fewer than 4 images" in capsys.readouterr().out
    identification(per_identity=1)
    assert not capsys.readouterr().out


def test_pairs_are_balanced_by_the_person_in_the_whole_image():
    for step in range(6):
        batch = pairs(per_identity=2)[step]
        assert set(collections.Counter(batch["whole_identities"].tolist()).values()) == {2}


SIMILAR = functools.partial(sampling.Similar, similar=[[(who + 1) % 6, (who + 3) % 6] for who in range(6)])


@pytest.mark.parametrize("order", [sampling.Balanced, sampling.Grouped, SIMILAR])
def test_orders_do_not_depend_on_who_asked_before(order):
    options = {} if order is sampling.Grouped else {"per_person": 2}
    make = functools.partial(order, CLASSES, batch_size=4, seed=2, **options)
    first, second = make(), make()
    places = np.random.default_rng(0).permutation(600)
    expected = [first[place] for place in range(600)]
    assert [second[place] for place in places] == [expected[place] for place in places]
    assert [pickle.loads(pickle.dumps(second))[place] for place in range(40)] == expected[:40]
    found = [0] * 600

    def fill(start):
        for place in range(start, 600, 4):
            found[place] = first[place]

    crew = [threading.Thread(target=fill, args=(start,)) for start in range(4)]
    for thread in crew:
        thread.start()
    for thread in crew:
        thread.join()
    assert found == expected
    with pytest.raises(IndexError):
        first[sampling.ENDLESS]
    assert 0 <= first[10**15] < len(CLASSES)


# Sizes


@given(st.lists(st.integers(0, 3), min_size=1, max_size=25), st.integers(1, 7))
def test_grouped_batches_hold_one_group_and_every_image_equally_often(groups, batch_size):
    groups = np.array(groups)
    order = sampling.Grouped(groups, batch_size=batch_size, seed=0)
    rounds = 3 * batch_size  # after which nothing waits
    steps = rounds * len(groups) // batch_size
    counts = collections.Counter()
    for step in range(steps):
        batch = [order[place] for place in range(step * batch_size, (step + 1) * batch_size)]
        assert len(set(groups[batch])) == 1
        counts.update(batch)
    assert set(counts.values()) == {rounds} and len(counts) == len(groups)


def test_images_of_their_own_size_are_padded_to_few_shapes():
    drawn = unresized(buckets=3)
    source = pictures(SHAPES)
    shapes = set()
    for step in range(12):
        batch = identification(drawn, patch_share=0.0)[step]
        shapes.add(batch["inputs"].shape)
        for picture, (height, width), who in zip(*(batch[n] for n in ("inputs", "sizes", "identities")), strict=True):
            assert not picture[height:].any() and not picture[:, width:].any()
            seen = picture[:height, :width]
            own = [source[i].image for i in np.flatnonzero(who == CLASSES)]
            assert any(seen.shape == image.shape and (seen == image).all() for image in own)
    assert 1 < len(shapes) <= 3 and all(side % 8 == 0 for shape in shapes for side in shape[1:3])


def test_patches_of_images_of_their_own_size_keep_their_scale():
    drawn = unresized(buckets=2)
    for i in (0, 7, 12):
        pixels, (height, width) = drawn.patch(i, np.random.default_rng(0))
        image, piece = pictures(SHAPES)[i].image, pixels[:height, :width]
        windows = np.lib.stride_tricks.sliding_window_view(image, (height, width), axis=(0, 1))
        assert (windows == np.moveaxis(piece, 2, 0)).all(axis=(2, 3, 4)).any()
        assert not pixels[height:].any() and not pixels[:, width:].any()


def test_one_bucket_is_shuffled_like_one_size():
    a, b = identification(unresized(buckets=1))[5], identification()[5]
    np.testing.assert_array_equal(a["identities"], b["identities"])


# What is held in memory


@pytest.mark.parametrize("size", [(16, 8), None])
def test_what_is_held_changes_no_value_and_stays_within_the_limit(size, monkeypatch):
    source, reads = pictures(SHAPES), []
    read = Source.__getitem__
    monkeypatch.setattr(Source, "__getitem__", lambda self, i: reads.append(i) or read(self, i))
    everything = sum(16 * 8 * 3 if size else height * width * 3 for height, width in SHAPES)
    for limit in (0, everything // 2, everything):
        images = decoded.Decoded(source, range(len(SHAPES)), size=size, limit=limit)
        for times in (1, 2):
            for i in range(len(SHAPES)):
                whole = read(source, i).image
                np.testing.assert_array_equal(images[i], views.resize(whole, size) if size else whole)
                assert images.held <= limit
            assert len(reads) == len(SHAPES) if times == 1 else True
        assert len(reads) == {0: 2 * len(SHAPES), everything: len(SHAPES)}.get(limit, len(reads))
        assert len(SHAPES) <= len(reads) <= 2 * len(SHAPES)
        reads.clear()
    with pytest.raises(ValueError, match="read-only"):
        images[0][:] = 0
    with pytest.raises(ValueError, match="limit must be .* at least 0, got -1"):
        decoded.Decoded(source, [0], size=size, limit=-1)


def test_batches_do_not_depend_on_what_is_held():
    for step in (0, 3):
        for limit in (0, 5000):
            assert_same(identification(one_size(limit=limit))[step], identification()[step])


def test_a_pickled_one_holds_nothing_and_gives_the_same():
    images = decoded.Decoded(pictures(SHAPES), [3, 1], size=None, limit=10**6)
    assert images[0].shape == (*SHAPES[3], 3) and images.held
    again = pickle.loads(pickle.dumps(images))
    assert len(again) == 2 and not again.held
    np.testing.assert_array_equal(again[1], images[1])


@pytest.mark.parametrize("threads", [0, 2])
def test_a_picture_that_cannot_be_decoded_is_named_when_its_step_comes(threads):
    drawn = one_size(broken=(11,))
    dataset = identification(drawn, patch_share=0.0)
    place = [(step, row) for step in range(5) for row in range(4)]
    order = grain.MapDataset.source(np.arange(len(CLASSES))).seed(3).shuffle().repeat()
    step = next(s for s, row in place if order[4 * s + row] == 11)
    with stream.Stream(dataset, start=0, stop=9, threads=threads) as found:
        with pytest.raises(ValueError, match="image '11.png' of toy/train cannot be read: a damaged .*--skip_bad"):
            for number, _ in enumerate(found):
                assert number < step


def test_a_picture_that_cannot_be_decoded_is_named_when_sizes_are_read():
    with pytest.raises(ValueError, match="image '2.png' of toy/train cannot be read"):
        unresized(broken=(2,))


# Who waits


def test_waiting_is_the_share_of_the_time_in_which_no_batch_was_ready(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(stream.time, "perf_counter", lambda: clock[0])

    def draw(i):
        clock[0] += 0.5
        return {"inputs": i, "sizes": np.array([2, 1])}

    dataset = grain.MapDataset.source(np.arange(20)).map(draw).batch(2)
    with stream.Stream(dataset, start=0, stop=4, threads=0) as found:
        timings = []
        for number, _ in enumerate(found):
            clock[0] += 3.0
            if number % 2:
                timings.append(found.timing())
        assert timings == [{"waiting": 0.25, "images_per_second": 0.5}] * 2
    assert set(timings[0]) == set(stream.TIMING)


def test_a_stream_that_is_left_ends_its_threads():
    before = {thread.name for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")}
    with stream.Stream(identification(), start=0, stop=100, threads=2) as found:
        next(iter(found))
        crew = [thread for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")]
    for thread in crew:
        thread.join(timeout=600)
    after = {thread.name for thread in threading.enumerate() if thread.name.startswith("grain-prefetch")}
    assert crew and after <= before
    with pytest.raises(ValueError, match="threads must be at least 0"):
        stream.Stream(identification(), start=0, stop=1, threads=-1)


# The runners


def train(data_dir, workdir, *arguments, runner=pretrain):
    return call(
        runner,
        *("--dataset=folder", f"--data_dir={data_dir}", f"--workdir={workdir}", "--width=0.03125", *SMALL),
        *("--pretrain_steps=6", "--pretrain_batch_size=4", "--checkpoint_every=2", "--patch_share=0.5"),
        *arguments,
    )


def entries(workdir):
    """The log without what differs between two runs of the same training."""
    lines = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in stream.TIMING} for line in lines]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """--data_dir of four people to train on, whose pictures have two sizes."""
    rows = [(f"train/{i}_{c}.png", i, c, "train", 1.0 if i < 10 else 0.8) for i in (8, 9, 10, 11) for c in (0, 1, 0)]
    return prepared(tmp_path_factory.mktemp("sizes"), [*dict.fromkeys(rows), ("probe/1.png", 1, 0, "probe", 1.0)])


@pytest.mark.slow
@pytest.mark.parametrize("how", [("--buckets=2",), ("--images_per_identity=2",)])
def test_resumed_with_other_threads_and_memory_ends_where_it_would_have(folder, tmp_path, monkeypatch, how):
    assert train(folder, tmp_path / "whole", *how, "--reading_threads=0") == 0
    log = workdir.Workdir.log

    def interrupted(self, **entry):
        log(self, **entry)
        if entry["step"] == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workdir.Workdir, "log", interrupted)
        assert train(folder, tmp_path / "stopped", *how, "--image_memory=0") == 130
    assert train(folder, tmp_path / "stopped", *how, "--reading_threads=3") == 0
    ends = [(tmp_path / name / weights.WORKDIR_FILE).read_bytes() for name in ("whole", "stopped")]
    assert ends[0] == ends[1] and entries(tmp_path / "whole") == entries(tmp_path / "stopped")
    for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        assert 0 <= entry["waiting"] <= 1 and entry["images_per_second"] > 0


@pytest.mark.slow
def test_a_training_that_meets_a_broken_picture_names_it_and_keeps_its_checkpoints(
    folder, tmp_path, capsys, monkeypatch
):
    read = Source.__getitem__

    def broken(self, i):
        if self.names[i] == "train/10_1.png" and (tmp_path / "run" / "checkpoints").exists():
            raise ValueError("a damaged image file (made so)")
        return read(self, i)

    monkeypatch.setattr(Source, "__getitem__", broken)
    assert train(folder, tmp_path / "run", "--image_memory=0", "--pretrain_steps=40", "--checkpoint_every=1") == 1
    errors = capsys.readouterr().err
    assert "error: image 'train/10_1.png' of folder/train cannot be read: a damaged image file (made so)" in errors
    assert (tmp_path / "run" / "checkpoints").exists() and not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--images_per_identity=3",), "pretrain_batch_size: a batch of 4 does not hold 3 images"),
        (
            ("--images_per_identity=4", "--pretrain_batch_size=20"),
            "needs 5 identities and there are 4",
        ),
        (("--sampling=balanced",), "--images_per_identity=K alone"),
        (("--images_per_identity=2", "--buckets=2"), "give --buckets=1 or 0 with it"),
        (("--buckets=2", "--frozen_blocks=1", "--frozen_views=1"), "give one of the two"),
    ],
)
def test_bad_input_writes_nothing(folder, tmp_path, capsys, arguments, message):
    assert train(folder, tmp_path / "out", *arguments) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_finetune_has_no_images_at_their_own_size(capsys):
    """Pairs need one scale."""
    assert call(finetune, "--buckets=1") == 1
    assert "Unknown command line flag 'buckets'" in capsys.readouterr().err


def test_a_batch_that_processes_cannot_share_is_an_error():
    with pytest.raises(ValueError, match="batch of 4 cannot be shared by 3 processes: give a multiple of 3"):
        identification(share=batches.Share(0, 3))
    with pytest.raises(ValueError, match="process is 2, and must be 0 to 1"):
        identification(share=batches.Share(2, 2))


def test_batches_of_nobody_are_errors():
    with pytest.raises(ValueError, match="nobody to draw"):
        sampling.Balanced([], batch_size=4, per_person=2, seed=0)
    with pytest.raises(ValueError, match="no image to make batches of"):
        sampling.Grouped([], batch_size=4, seed=0)
    with pytest.raises(ValueError, match="images_per_identity must be at least 1, got 0"):
        sampling.Balanced(CLASSES, batch_size=4, per_person=0, seed=0)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        sampling.Grouped(CLASSES, batch_size=0, seed=0)
    with pytest.raises(ValueError, match="give --buckets=1"):
        identification(unresized(), per_identity=2)


def test_images_whose_patches_have_no_map_are_named():
    with pytest.raises(ValueError, match="image '0.png' of 24 x 24 pixels has patches below one output cell of 16"):
        own_size.OwnSizeViews(crowd(), stride=16, buckets=1, augmentation=PLAIN, limit=0)


# The benchmark


BENCHMARK = ("--view_sizes=32x24,16x16", "--threads_tried=0,1", "--views_per_batch=2", "--drawn_pictures=1")


def measure(data_dir, workdir, *arguments):
    given = ("--dataset=folder", f"--data_dir={data_dir}", f"--workdir={workdir}", *BENCHMARK)
    return call(benchmark_pipeline, *given, "--pipeline_rounds=1", "--timed_seconds=0", *arguments)


def test_the_benchmark_measures_every_case(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark_pipeline, "IMAGES", 64)
    assert measure(folder, tmp_path / "out") == 0
    found = json.loads((tmp_path / "out" / "pipeline.json").read_text())
    assert all(value > 0 for value in found.values())
    names = {tuple(key.split("/")[:2]) for key in found}
    assert names == {
        (who, size) for who in ("folder", "1080p crops", "1080p frames") for size in ("32 x 24", "16 x 16")
    }
    assert {key.split("/")[2] for key in found if "folder/32" in key} == {
        *("read_us", "resize_us", "whole_us", "patch_us", "decoded", "held")
    }
    text = (tmp_path / "out" / "pipeline.txt").read_text()
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert all(line.rstrip() in lines for line in text.splitlines())
    for table in text.split("\n\n\n"):  # the columns line up
        rules = [line for line in table.splitlines() if line.startswith("---")]
        assert all(len(line) <= len(rule) for rule in rules for line in table.splitlines() if line.startswith("1080p"))


@pytest.mark.parametrize(
    "argument, message",
    [
        ("--view_sizes=32", "view_sizes must be HEIGHTxWIDTH"),
        ("--view_sizes=", "view_sizes"),
        ("--threads_tried=-1", "threads_tried must be whole numbers"),
        ("--threads_tried=", "threads_tried must be whole numbers"),
    ],
)
def test_a_benchmark_of_nothing_is_an_error(folder, tmp_path, capsys, argument, message):
    assert measure(folder, tmp_path / "out", argument) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
