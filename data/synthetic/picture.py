"""Pictures of the drawn people: a person before a camera's background, shaded, blurred, coloured and noisy."""

import functools

import numpy as np
from PIL import Image, ImageFilter

from data.synthetic.camera import CAMERAS, Camera, cameras
from data.synthetic.figure import Pose, figure
from data.synthetic.person import Person

HEIGHT, WIDTH = 128, 48  # pixels
_OVERSAMPLING = 3
_MARGIN = 0.45  # of the crop's size, by which the camera's background exceeds it


def draw(
    person: Person, camera: int, index: int, *, height: int = HEIGHT, width: int = WIDTH, difficulty: str = "normal"
) -> np.ndarray:
    """A picture of a person: a pure function of its arguments.

    Returns:
      (height, width, 3) uint8 RGB.

    Raises:
      ValueError: no such camera or difficulty, or a picture too small for a person.

    Example:
      >>> from data.synthetic import people
      >>> draw(people(1)[0], 0, 0).shape
      (128, 48, 3)
    """
    if not 0 <= camera < len(CAMERAS):
        raise ValueError(f"camera is {camera}, and must be 0 to {len(CAMERAS) - 1}")
    if height < 16 or width < 8:
        raise ValueError(f"height, width are {height}, {width}, and must be at least 16, 8")
    rng = np.random.default_rng([person.seed, person.identity, camera, index, 1])
    spec = cameras(difficulty)[camera]
    body, alpha = _body(person, spec, rng, height=height, width=width)
    scene = _crop(background(camera, height=height, width=width, seed=person.seed), rng, height=height, width=width)
    return _exposed(scene * (1 - alpha) + body * alpha, spec, rng)


def _body(
    person: Person, spec: Camera, rng: np.random.Generator, *, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """The person alone, shaded: colours (h, w, 3) in 0-255 and coverage (h, w, 1) in 0-1."""
    turn, stride, swing = rng.uniform(-1, 1, size=3)
    pose = Pose(front=bool(rng.random() < spec.front), turn=turn, stride=stride, swing=swing)
    down = height * rng.uniform(0.82, 0.98) * _OVERSAMPLING
    origin = (width * rng.uniform(0.41, 0.59) * _OVERSAMPLING, height * rng.uniform(0.01, 0.09) * _OVERSAMPLING)
    size = (width * _OVERSAMPLING, height * _OVERSAMPLING)
    picture = figure(person, pose, size=size, origin=origin, across=down * spec.stretch, down=down)
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.BOX), dtype=np.float32)
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * _shading(alpha[..., 0], rng)[..., None], alpha


def _shading(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light from one side makes the body round; slow noise stands for folds."""
    soft = np.asarray(
        Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(alpha.shape[1] / 16)),
        dtype=np.float32,
    )
    light = rng.choice([-1, 1]) * (np.roll(soft, 2, axis=1) - np.roll(soft, -2, axis=1)) / 255
    return np.clip(1 + 0.45 * light + 0.10 * _slow_noise(rng, alpha.shape, cell=8), 0.5, 1.4)


def _slow_noise(rng: np.random.Generator, shape: tuple[int, ...], *, cell: int) -> np.ndarray:
    coarse = rng.standard_normal((shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


@functools.lru_cache(maxsize=8)
def background(camera: int, *, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """The place before a camera, wider than a crop: (h, w, 3) float32 in 0-255; read-only."""
    rng = np.random.default_rng([seed, camera, 2])
    high, wide = round(height * (1 + _MARGIN)), round(width * (6 + _MARGIN))
    scene = np.empty((high, wide, 3), dtype=np.float32)
    horizon = round(high * 0.62)
    outdoors = CAMERAS[camera].outdoors
    scene[:horizon] = (132, 136, 128) if outdoors else (196, 192, 182)
    scene[horizon:] = (118, 116, 112) if outdoors else (150, 140, 126)
    for _ in range(26):  # windows, doors, posters, cars, bins
        left, top = rng.integers(wide), rng.integers(horizon)
        box = np.s_[top : top + rng.integers(height // 8, height // 2), left : left + rng.integers(4, width)]
        scene[box] = scene[box] * 0.35 + 0.65 * rng.uniform(40, 215) * rng.uniform(0.85, 1.15, size=3)
    scene[horizon : horizon + 2] *= 0.7
    for left in rng.integers(wide, size=6 if outdoors else 3):  # poles and pillars
        scene[:, left : left + rng.integers(2, 7)] *= rng.uniform(0.5, 1.3)
    rows = np.arange(horizon, high)
    scene[rows[(rows - horizon) % (9 if outdoors else 6) == 0]] *= 0.9  # joints of the paving
    scene *= 1 + 0.06 * _slow_noise(rng, scene.shape[:2], cell=6)[..., None]
    scene *= 1 + 0.04 * rng.standard_normal(scene.shape[:2], dtype=np.float32)[..., None]
    return np.clip(scene, 0, 255)


def _crop(scene: np.ndarray, rng: np.random.Generator, *, height: int, width: int) -> np.ndarray:
    top, left = (rng.integers(have - want + 1) for have, want in zip(scene.shape[:2], (height, width), strict=True))
    return scene[top : top + height, left : left + width]


def _exposed(scene: np.ndarray, spec: Camera, rng: np.random.Generator) -> np.ndarray:
    """The camera's picture of a scene (h, w, 3): blur, colour, noise, 8 bits."""
    picture = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    light = np.asarray(picture.filter(ImageFilter.GaussianBlur(rng.uniform(*spec.blur))), dtype=np.float32) / 255
    light = light.mean(axis=-1, keepdims=True) * (1 - spec.saturation) + light * spec.saturation
    gains = np.array(spec.gains) * rng.uniform(0.9, 1.1, size=3) * rng.uniform(0.75, 1.2)
    signal = 255 * np.clip(light * gains, 0, 1) ** spec.gamma
    noise = rng.normal(0, spec.noise, size=signal.shape)
    return np.clip(np.rint(signal + noise), 0, 255).astype(np.uint8)
