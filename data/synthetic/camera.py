"""The two cameras of the drawn people, and how far they disagree."""

from typing import NamedTuple


class Camera(NamedTuple):
    """Effect of a camera on a scene: colour, shape, sharpness, and the share of people it sees from the front."""

    gains: tuple[float, float, float]  # red, green, blue
    gamma: float
    saturation: float
    stretch: float  # width of a body relative to its height
    front: float  # share of people who face the camera
    blur: tuple[float, float]  # range of the radius, in pixels
    noise: float  # standard deviation, of 255
    outdoors: bool


CAMERAS = (
    Camera((1.07, 1.0, 0.84), 0.90, 1.0, 0.98, 0.8, (0.2, 0.5), 5.0, outdoors=False),
    Camera((0.86, 0.97, 1.10), 1.15, 0.65, 1.12, 0.25, (0.3, 0.8), 7.0, outdoors=True),
)

# Distance of each camera from one that changes nothing: 1 is as written above.
DIFFICULTIES = {"easy": 0.4, "normal": 1.0, "hard": 1.6}


def cameras(difficulty: str = "normal") -> tuple[Camera, ...]:
    """The two cameras, nearer to each other or further apart.

    Raises:
      ValueError: another word.

    Example:
      >>> [round(camera.noise, 1) for camera in cameras("hard")]
      [8.0, 11.2]
    """
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty is {difficulty!r}, and must be one of {', '.join(DIFFICULTIES)}")
    return CAMERAS if difficulty == "normal" else tuple(_moved(c, DIFFICULTIES[difficulty]) for c in CAMERAS)


def _moved(camera: Camera, by: float) -> Camera:
    """The camera at `by` times its distance from a neutral one, which sees people from either side equally often."""
    red, green, blue = (1 + by * (gain - 1) for gain in camera.gains)
    return Camera(
        gains=(red, green, blue),
        gamma=camera.gamma**by,
        saturation=max(0.0, 1 + by * (camera.saturation - 1)),
        stretch=camera.stretch**by,
        front=min(1.0, max(0.0, 0.5 + by * (camera.front - 0.5))),
        blur=(by * camera.blur[0], by * camera.blur[1]),
        noise=by * camera.noise,
        outdoors=camera.outdoors,
    )
