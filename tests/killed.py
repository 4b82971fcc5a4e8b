"""A program that kills builds of a data set at every step they take on the disk, and looks at what is left.

    python -m tests.killed FOLDER [STRIDE]

The steps are those that Python announces to its audit hooks: opening, making, renaming and removing files and folders.
A child per step is killed by SIGKILL just before it; then whatever reads next must find nothing or a whole data set,
and a build must end in the bytes of an undisturbed one with nothing beside it. With STRIDE only every so manyth step
is, and those before and after each rename.
"""

import functools
import hashlib
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import data
from data.builders.builder import build
from data.builders.listing import Listing, Record

REMOVALS = ("os.remove", "os.rmdir")
STEPS = ("open", "os.mkdir", "os.rename", "shutil.rmtree", *REMOVALS)


def content(value: int) -> Listing:
    """Three pictures that are not even pictures: a build does not look into them."""
    splits = {split: [Record(f"{split}.png", 1, 0, functools.partial(bytes, [value] * 50))] for split in data.SPLITS}
    return Listing(splits)


def written(root: Path, value: int, *, overwrite: bool) -> None:
    builder = data.dataset_builder("synthetic", data_dir=root)
    build(builder, content(value), fingerprint=str(value), overwrite=overwrite)


def sums(root: Path) -> dict[str, str]:
    """Digest of every file, whatever its name."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_a_child(act: Callable[[], None], root: Path, last: int | None = None) -> list[str]:
    """Acts in a process of its own, which is killed before its step `last` below `root`; the steps it took.

    Nothing is written by this process, since the threads of ArrayRecord would not outlive a fork.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        taken: list[str] = []

        def step(event: str, arguments: tuple[object, ...]) -> None:
            below = str(root) in str(arguments[0])
            inside = event in REMOVALS and arguments[1] != -1  # of a folder that is open: its name alone is told
            if event in STEPS and (below or inside):
                if len(taken) == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                taken.append(event)

        sys.addaudithook(step)
        try:
            act()
            os.write(writing, " ".join(taken).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed if last is not None else said, f"step {last}: the child ended by itself, or failed"
    return said.split()


def prepared(root: Path, *values: int, overwrite: bool = False, last: int | None = None) -> list[str]:
    """The folder, with builds of these contents one after another; the steps of the last."""
    root.mkdir(exist_ok=True)
    steps: list[str] = []
    for value in values:
        steps = in_a_child(functools.partial(written, root, value, overwrite=overwrite), root, last)
    return steps


def killed(root: Path, step: int, *, before: dict[str, str], wanted: dict[str, str]) -> None:
    """Kills a build before a step; checks what a reader then finds, and what the next build makes of it."""
    overwrite = bool(before)
    prepared(root, *([1] if overwrite else []))
    prepared(root, 2, overwrite=overwrite, last=step)
    builder = data.dataset_builder("synthetic", data_dir=root)
    found = sums(root / "synthetic") if builder.is_built else {}
    assert found in (before, wanted), f"step {step}: a reader finds {sorted(found)}"
    prepared(root, 2, overwrite=overwrite)
    left = sums(root / "synthetic")
    assert left == wanted, f"step {step}: a build leaves {sorted(left)}"
    assert [path.name for path in root.iterdir()] == ["synthetic"], f"step {step}: {sorted(root.iterdir())}"


def main(folder: Path, stride: int) -> None:
    prepared(folder / "old", 1)
    steps = {False: prepared(folder / "new", 2)}
    prepared(folder / "replaced", 1)
    steps[True] = prepared(folder / "replaced", 2, overwrite=True)
    old, wanted = sums(folder / "old" / "synthetic"), sums(folder / "new" / "synthetic")
    assert old != wanted == sums(folder / "replaced" / "synthetic")
    for overwrite, taken in steps.items():
        near = [i for i in range(len(taken)) if "os.rename" in taken[max(0, i - 1) : i + 1]]
        kills = sorted({*range(0, len(taken), stride), *near})
        for step in kills:
            killed(folder / f"{overwrite}-{step}", step, before=old if overwrite else {}, wanted=wanted)
        print(f"{'replacing' if overwrite else 'first'}: killed at {len(kills)} of {len(taken)} steps")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
