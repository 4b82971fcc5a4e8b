"""Pictures as 1080p video gives them, drawn: crops of people 400 to 800 pixels high, and whole frames to crop from."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from data.source import Example, Source
from dsr_jax.evaluation import partial_crops

FRAME = (1080, 1920)
HEIGHTS = (400, 800)  # of a person, in pixels
QUALITY = 90  # of the JPEGs


class Frames(Source):
    """A split whose pictures are whole frames: an image is what a box shows of one."""

    def __init__(self, frames: Sequence[bytes], boxes: Sequence[partial_crops.Box]):
        super().__init__([{"image": frame} for frame in frames], **_labels(len(frames), "frames"))
        self._boxes = list(boxes)

    def __getitem__(self, position: int) -> Example:  # type: ignore[override]  # no slices
        """The person at `position`, cut out of the decoded frame."""
        whole = super().__getitem__(position)
        return whole._replace(image=np.ascontiguousarray(partial_crops.crop(whole.image, self._boxes[position])))


def crops(count: int, *, seed: int) -> Source:
    """Cut-out people as JPEGs, each of another size."""
    pictures = [jpeg(_person(i, seed)) for i in range(count)]
    return Source([{"image": picture} for picture in pictures], **_labels(count, "crops"))


def frames(count: int, *, seed: int) -> Frames:
    """Frames as JPEGs, a person in each."""
    from data import synthetic

    rng = np.random.default_rng((seed, 1))
    scene = synthetic.background(0, height=750, width=300, seed=seed)[: FRAME[0], : FRAME[1]]
    shown, boxes = [], []
    for i in range(count):
        person = _person(i, seed)
        height, width = person.shape[:2]
        top, left = rng.integers(FRAME[0] - height + 1), rng.integers(FRAME[1] - width + 1)
        frame = scene.astype(np.uint8)
        frame[top : top + height, left : left + width] = person
        shown.append(jpeg(frame))
        boxes.append(partial_crops.Box(int(top), int(left), height, width))
    return Frames(shown, boxes)


def jpeg(picture: np.ndarray) -> bytes:
    """The bytes of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _person(i: int, seed: int) -> np.ndarray:
    from data import synthetic

    height = int(np.random.default_rng((seed, 0, i)).integers(*HEIGHTS, endpoint=True))
    return synthetic.draw(synthetic.people(1, seed=seed, first=i)[0], i % 2, 0, height=height, width=2 * height // 5)


def _labels(count: int, title: str) -> dict:
    names = [f"{i}.jpg" for i in range(count)]
    return {"identities": list(range(count)), "cameras": [0] * count, "names": names, "title": f"drawn/{title}"}
