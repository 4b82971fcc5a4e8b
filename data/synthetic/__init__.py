"""Drawn people: body, clothes, pose, and the cameras that see them."""

from data.synthetic.camera import CAMERAS, DIFFICULTIES, cameras
from data.synthetic.person import people
from data.synthetic.picture import HEIGHT, WIDTH, background, draw

__all__ = ["CAMERAS", "DIFFICULTIES", "HEIGHT", "WIDTH", "background", "cameras", "draw", "people"]
