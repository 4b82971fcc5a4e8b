"""Many users of a page that runs: each searches, looks and marks; every answer must be that of the probe alone.

    python -m experiments.serve --pictures=FOLDER --weights=FILE --port=8765
    python -m tests.page_users --port=8765 --probes=FOLDER --users=20 --minutes=5 --pause=8

Marks are kept with the gallery: use one that is made for it.
"""

import argparse
import random
import re
import statistics
import sys
import threading
import time
import urllib.parse
from collections import Counter
from pathlib import Path
from typing import Any

from tests.page_server import Client

COMPARED = ("hits", "matched_size", "searched", "sentences")


class Users:
    """What users have in common: the answers that are known, what they did, and what was wrong."""

    def __init__(self, client: Client, probes: dict[str, bytes]) -> None:
        self.client, self.probes = client, probes
        self.known = {name: _compared(client.search(content)) for name, content in probes.items()}
        self.maps: dict[tuple[str, int], bytes] = {}
        self.done: Counter[str] = Counter()
        self.times: list[float] = []
        self.wrong: list[Any] = []
        self.marks: list[tuple[str, bool, float]] = []
        self._lock = threading.Lock()

    def use(self, user: int, end: float, pause: float) -> None:
        """One user until some moment."""
        rng = random.Random(user)
        mine = [name for i, name in enumerate(self.probes) if i % 20 == user % 20]
        while time.monotonic() < end:
            name, begun = rng.choice(mine), time.monotonic()
            reply = self.client.post("/search", self.probes[name])
            while reply.status == 503:
                self._did("came again")
                time.sleep(float(reply.headers["retry-after"]))
                reply = self.client.post("/search", self.probes[name])
            self._did("search", reply.status != 200 or _compared(reply.json()) != self.known[name], name)
            if reply.status == 200:
                self.times.append(time.monotonic() - begun)
                self._look(name, reply.json()["answer"], rng)
            time.sleep(rng.expovariate(1 / pause) if pause else 0)

    def _look(self, name: str, answer: str, rng: random.Random) -> None:
        """A map and a mark of one place of an answer."""
        rank, right = rng.randint(1, 3), rng.random() < 0.5
        place, hit = f"/answers/{urllib.parse.quote(answer)}/{rank}", self.known[name]["hits"][rank - 1]
        page = self.client.get(f"{place}/map")
        with self._lock:
            before = self.maps.setdefault((name, rank), page.body)
        self._did("map", page.status != 200 or page.body != before or hit["name"].encode() not in page.body, name)
        marked = self.client.post(f"{place}/mark", verdict="right" if right else "wrong")
        self._did("mark", marked.status != 200, name)
        self.marks.append((hit["name"], right, hit["distance"]))

    def _did(self, what: str, wrong: bool = False, name: str = "") -> None:
        with self._lock:
            self.done[what] += 1
            if wrong:
                self.wrong.append((what, name))


def _compared(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: answer[key] for key in COMPARED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--probes", type=Path, required=True, help="a folder of at least 20 pictures")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--pause", type=float, default=8.0, help="mean seconds between an answer and the next search")
    given = parser.parse_args()
    client = Client(given.port)
    client.token = re.findall(r'page-token" content="([^"]+)"', client.get("/").body.decode())[0]
    before = len(client.get("/marks.json").json())
    users = Users(client, {path.name: path.read_bytes() for path in sorted(given.probes.iterdir())})
    end = time.monotonic() + 60 * given.minutes
    threads = [threading.Thread(target=users.use, args=(user, end, given.pause)) for user in range(given.users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = [(mark["name"], mark["verdict"], mark["distance"]) for mark in client.get("/marks.json").json()[before:]]
    lost = sorted(kept) != sorted(users.marks)
    times = sorted(users.times)
    print(f"{dict(users.done)}; wrong: {len(users.wrong)} {users.wrong[:3]}; marks {'differ' if lost else 'all kept'}")
    print(f"a search: median {statistics.median(times):.2f} s, 95 % within {times[int(0.95 * len(times))]:.2f} s")
    sys.exit(bool(users.wrong) or lost)


if __name__ == "__main__":
    main()
