"""Kills writers of a gallery with SIGKILL at random moments: it must hold what was before, or what was to come.

    python -m tests.gallery_kills --kills=40 --folder=/tmp/kills

A process creates a gallery, adds, replaces, removes and compacts, and says before and after each change what it should
hold. It is killed again and again, at any moment of a change. Then the gallery must open, hold the content before the
change or that after it, and go on to be changed. A reader beside it looks all the time, and must never see anything but
the content before or after a change. Prints what was killed.
"""

import argparse
import collections
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from dsr_jax import match
from dsr_jax.gallery import place
from tests.runners import ROOT

SHAPE, MAPS, KEPT = (8, 4, 16), 40, 3  # KEPT: versions that compact keeps


def maps(names: list[str], turn: int):
    """Maps that say in each number which they are, and of which change."""
    for name in names:
        yield np.full(SHAPE, 1 + int(name) + turn / 1024, np.float32)


def content(gallery: match.Gallery) -> dict[str, list[float]]:
    """For every name the numbers in its map, and its camera."""
    cameras = gallery.cameras.tolist()
    return {
        name: [*np.unique(m).tolist(), camera]
        for name, m, camera in zip(gallery.names, gallery.maps, cameras, strict=True)
    }


def digest(state: dict[str, list[float]]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def written(names: list[str], turn: int) -> dict[str, list[float]]:
    return {name: [1 + int(name) + turn / 1024, turn] for name in names}


def write(folder: Path, seed: int) -> None:
    """Changes the gallery until the process is killed; what a change is to make of it is written down before."""
    rng = random.Random(seed)
    turn = seed * 1000
    gallery = match.Gallery.open(folder) if place.finished(folder) else None
    before = content(gallery) if gallery else {}
    while True:
        turn += 1
        kind = "create" if gallery is None else rng.choice(["add", "add", "replace", "remove", "compact"])
        free = [str(i) for i in range(400) if str(i) not in before]
        there = sorted(before)
        if kind in ("replace", "remove") and len(there) < MAPS:
            kind = "add"
        if kind == "add" and len(free) < MAPS:
            kind = "remove"
        chosen = rng.sample(free if kind in ("create", "add") else there, MAPS) if kind != "compact" else []
        if kind == "remove":
            after = {name: value for name, value in before.items() if name not in chosen}
        else:
            after = before | written(chosen, turn)
        with folder.with_name("states").open("a") as states:
            states.write(f"\n{digest(after)}\n")
        note = folder.with_name("note.tmp")
        note.write_text(json.dumps({"kind": kind, "before": before, "after": after}))
        note.replace(folder.with_name("note.json"))
        how = {"names": chosen, "cameras": [turn] * len(chosen)}
        if kind == "create":
            gallery = match.Gallery.create(folder, maps(chosen, turn), dtype="float32", **how)
        elif kind == "compact":
            gallery = gallery.compact(keep=KEPT)
        elif kind == "remove":
            gallery = gallery.remove(names=chosen)
        else:
            gallery = (gallery.replace if kind == "replace" else gallery.add)(maps(chosen, turn), **how)
        before = after


def read(folder: Path) -> None:
    """Looks at the gallery until the process is told to end; says what it saw how often."""
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
    seen: collections.Counter[str] = collections.Counter()
    while not ended:
        if place.finished(folder):
            gallery = match.Gallery.open(folder)
            try:
                seen[digest(content(gallery))] += 1
            except ValueError:
                if gallery.refresh().version - gallery.version < KEPT:
                    raise
                seen["dropped"] += 1
    print(json.dumps(seen))


def started(what: str, folder: Path, seed: int = 0) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.gallery_kills", f"--folder={folder}", f"--act={what}", f"--seed={seed}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--folder", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--act", choices=("kill", "write", "read"), default="kill", help="what the process does")
    given = parser.parse_args()
    if given.act != "kill":
        return write(given.folder, given.seed) if given.act == "write" else read(given.folder)
    given.folder.mkdir(parents=True, exist_ok=True)
    gallery, note, rng = given.folder / "gallery", given.folder / "note.json", random.Random(given.seed)
    reader, hit = started("read", gallery), collections.Counter()
    for number in range(given.kills):
        note.unlink(missing_ok=True)
        process = started("write", gallery, number)
        while not note.exists() and process.poll() is None:
            time.sleep(0.001)
        while number and not place.finished(gallery) and process.poll() is None:
            time.sleep(0.001)  # the first creation alone is killed
        time.sleep(rng.uniform(0, 0.05 if number % 4 == 0 else 0.5))
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"the writer ended with {process.returncode}: {said}")
        told = json.loads(note.read_text())
        if not place.finished(gallery):
            assert told["kind"] == "create", told["kind"]
            hit["create, before"] += 1
            continue
        found = content(match.Gallery.open(gallery))
        if found not in (told["before"], told["after"]):
            raise SystemExit(f"kill {number} within {told['kind']}: the gallery is neither as before nor as after")
        same = told["before"] == told["after"]
        hit[f"{told['kind']}{'' if same else ', after' if found == told['after'] else ', before'}"] += 1
    reader.send_signal(signal.SIGTERM)
    said, errors = reader.communicate()
    if reader.returncode:
        raise SystemExit(f"the reader failed: {errors}")
    seen, states = json.loads(said), set((given.folder / "states").read_text().split())
    if strange := seen.keys() - states - {"dropped"}:
        raise SystemExit(f"the reader saw {len(strange)} contents that are half a change")
    looks = f"{sum(seen.values())} looks of a reader saw {len(seen)} contents, each of them whole"
    print(f"{given.kills} kills, {dict(sorted(hit.items()))}; {looks}")


if __name__ == "__main__":
    main()
