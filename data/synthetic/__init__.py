"""Drawing of people who do not exist: body, clothes, pose, and the cameras that see them."""

from data.synthetic.camera import CAMERAS, DIFFICULTIES, cameras
from data.synthetic.picture import HEIGHT, WIDTH, background, draw, people

__all__ = ["CAMERAS", "DIFFICULTIES", "HEIGHT", "WIDTH", "background", "cameras", "draw", "people"]
