"""Figures: a person drawn from a description and a pose; nothing about cameras.

Part of the embedded data set, which stands in for the photographs of Sec. 4. Drawn with Pillow at several times the
final size; lengths are fractions of the body's height, x to the right of the body's axis, y down from the top of the
head.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from data.synthetic.person import Colour, Person

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Pose:
    """Pose: facing the camera or away, turned by `turn`, mid-stride, arms swinging (all -1 to 1)."""

    front: bool
    turn: float
    stride: float
    swing: float


class _Canvas:
    """A transparent picture in the body's coordinates, scaled by (`across`, `down`) pixels per unit."""

    def __init__(self, size: tuple[int, int], origin: Point, across: float, down: float) -> None:
        self.image = Image.new("RGBA", size)
        self.draw = ImageDraw.Draw(self.image)
        self.origin, self.across, self.down = origin, across, down

    def at(self, point: Point) -> Point:
        return self.origin[0] + point[0] * self.across, self.origin[1] + point[1] * self.down

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        self.draw.polygon([self.at(p) for p in points], fill=(*colour, 255))

    def oval(self, centre: Point, radii: Point, colour: Colour) -> None:
        (x, y), (a, b) = self.at(centre), radii
        box = (x - a * self.across, y - b * self.down, x + a * self.across, y + b * self.down)
        self.draw.ellipse(box, fill=(*colour, 255))

    def limb(self, joints: Sequence[Point], radii: Sequence[float], colour: Colour) -> None:
        """A chain of tapering, rounded segments."""
        for centre, radius in zip(joints, radii, strict=True):
            self.oval(centre, (radius, radius), colour)
        for (a, b), (r, s) in zip(
            zip(joints, joints[1:], strict=False), zip(radii, radii[1:], strict=False), strict=True
        ):
            across = np.array([b[1] - a[1], a[0] - b[0]])
            unit = across / (np.hypot(*across) or 1.0)
            corners = [np.add(a, r * unit), np.add(b, s * unit), np.subtract(b, s * unit), np.subtract(a, r * unit)]
            self.shape([(float(x), float(y)) for x, y in corners], colour)


def _dark(colour: Colour, factor: float = 0.78) -> Colour:
    red, green, blue = (round(c * factor) for c in colour)
    return red, green, blue


def figure(
    person: Person, pose: Pose, *, size: tuple[int, int], origin: Point, across: float, down: float
) -> Image.Image:
    """Draws a person.

    Args:
      person: the person.
      pose: the pose.
      size: (width, height) of the picture in pixels.
      origin: pixel of the top of the head, on the body's axis.
      across: pixels per body height horizontally.
      down: pixels per body height vertically; another number than `across` is another aspect ratio.
    """
    canvas = _Canvas(size, origin, across * person.height, down * person.height)
    hip, half = 1.0 - person.legs, 0.118 * person.build * (1 - 0.25 * abs(pose.turn))
    _legs(canvas, person, pose, hip, half)
    _torso(canvas, person, pose, hip, half)
    _arms(canvas, person, pose, half)
    _carried(canvas, person, pose, hip, half)
    _head(canvas, person, pose)
    return canvas.image


def _legs(canvas: _Canvas, person: Person, pose: Pose, hip: float, half: float) -> None:
    apart = half * 0.45
    for side in (-1, 1) if pose.stride > 0 else (1, -1):  # the rear leg first, darker
        rear = side == (-1 if pose.stride > 0 else 1)
        foot = side * apart + 0.09 * pose.stride * -side + 0.03 * pose.turn
        joints = [(side * apart, hip), ((side * apart + foot) / 2 + 0.015 * pose.turn, (hip + 0.96) / 2), (foot, 0.955)]
        wide = 0.052 * person.build
        colour = _dark(person.lower_colour) if rear else person.lower_colour
        bare = _dark(person.skin) if rear else person.skin
        if person.lower == "trousers":
            canvas.limb(joints, [wide * 1.15, wide * 0.92, wide * 0.72], colour)
        else:
            canvas.limb(joints, [wide, wide * 0.7, wide * 0.48], bare)
            if person.lower == "shorts":
                canvas.limb(joints[:2], [wide * 1.2, wide * 1.05], colour)
        toe = foot + (0.02 if pose.front else 0.0) * side + 0.03 * pose.turn
        canvas.limb([(foot, 0.968), (toe, 0.98)], [0.03, 0.028], _dark(person.shoes) if rear else person.shoes)
    if person.lower == "skirt":
        hem = hip + 0.20
        canvas.shape(
            [(-half, hip - 0.04), (half, hip - 0.04), (half * 1.35, hem), (-half * 1.35, hem)], person.lower_colour
        )


def _torso(canvas: _Canvas, person: Person, pose: Pose, hip: float, half: float) -> None:
    hem = hip + (0.17 if person.upper == "coat" else 0.03)
    outline = [(-half * 0.45, 0.15), (half * 0.45, 0.15), (half * 1.05, 0.195), (half * 0.9, 0.36), (half, hem)]
    outline += [(-half, hem), (-half * 0.9, 0.36), (-half * 1.05, 0.195)]
    mask = Image.new("L", canvas.image.size)
    ImageDraw.Draw(mask).polygon([canvas.at(p) for p in outline], fill=255)
    canvas.image.paste(_cloth(canvas, person, pose, half, hem), (0, 0), mask)
    if person.upper in ("jacket", "coat") and pose.front:  # open: the shirt below shows
        middle = 0.04 * pose.turn
        canvas.shape([(middle - 0.03, 0.15), (middle + 0.03, 0.15), (middle + 0.02, hem), (middle - 0.02, hem)],
                     person.second_colour)  # fmt: skip


def _cloth(canvas: _Canvas, person: Person, pose: Pose, half: float, hem: float) -> Image.Image:
    """A picture full of the upper garment's pattern, to be cut to the torso's shape."""
    cloth = _Canvas(canvas.image.size, canvas.origin, canvas.across, canvas.down)
    cloth.image.paste((*person.upper_colour, 255), (0, 0, *cloth.image.size))
    pattern, colour, shift = person.pattern, person.second_colour, 0.03 * pose.turn
    if pattern in ("hoops", "checks"):
        for y in np.arange(0.17, hem, 0.066):
            cloth.shape([(-0.3, y), (0.3, y), (0.3, y + 0.028), (-0.3, y + 0.028)], colour)
    if pattern in ("stripes", "checks"):
        for x in np.arange(-0.30, 0.30, 0.06) + shift:
            cloth.shape([(x, 0.0), (x + 0.022, 0.0), (x + 0.022, 1.0), (x, 1.0)], colour)
    if pattern == "dots":
        for row, y in enumerate(np.arange(0.18, hem, 0.05)):
            for x in np.arange(-0.3, 0.3, 0.07) + 0.035 * (row % 2) + shift:
                cloth.oval((x, y), (0.017, 0.017), colour)
    if pattern == "block":
        cloth.shape([(-0.3, 0.33), (0.3, 0.33), (0.3, 1.0), (-0.3, 1.0)], colour)
    if pattern == "logo" and pose.front:
        cloth.oval((shift, 0.28), (half * 0.5, 0.045), colour)
    return cloth.image


def _arms(canvas: _Canvas, person: Person, pose: Pose, half: float) -> None:
    sleeve = 0.032 * person.build * (1.2 if person.upper in ("jacket", "coat") else 1.0)
    for side in (-1, 1):
        bend = 0.05 * pose.swing * side
        shoulder, elbow = (side * half * 1.02, 0.215), (side * (half + 0.035) + bend * 0.3, 0.36)
        hand = (side * (half + 0.025) + bend, 0.49 - 0.3 * abs(bend))
        colour = _dark(person.upper_colour, 0.88)
        canvas.oval(hand, (0.022, 0.024), person.skin)
        if person.upper == "shirt":
            canvas.limb([elbow, hand], [0.026, 0.02], person.skin)
            canvas.limb([shoulder, ((shoulder[0] + elbow[0]) / 2, 0.30)], [sleeve, sleeve], colour)
        else:
            canvas.limb([shoulder, elbow, (hand[0], hand[1] - 0.02)], [sleeve, sleeve * 0.85, sleeve * 0.65], colour)


def _carried(canvas: _Canvas, person: Person, pose: Pose, hip: float, half: float) -> None:
    side = person.bag_side if pose.front else -person.bag_side  # seen from behind, left is right
    if person.bag == "backpack" and pose.front:
        for x in (-half * 0.62, half * 0.62):
            canvas.limb([(x, 0.175), (x * 1.1, 0.36)], [0.014, 0.014], person.bag_colour)
    elif person.bag == "backpack":
        canvas.limb([(0, 0.25), (0, hip - 0.10)], [half * 0.72, half * 0.78], person.bag_colour)
        canvas.limb([(-half * 0.3, hip - 0.12), (half * 0.3, hip - 0.12)], [0.025, 0.025], _dark(person.bag_colour))
    elif person.bag == "satchel":
        canvas.limb([(-side * half * 0.6, 0.17), (side * half, hip - 0.02)], [0.012, 0.012], person.bag_colour)
        canvas.limb([(side * half * 0.9, hip), (side * half * 1.15, hip + 0.05)], [0.055, 0.055], person.bag_colour)
    elif person.bag == "handbag":
        x = side * (half + 0.03)
        canvas.limb([(x, 0.50), (x, 0.56)], [0.008, 0.008], person.bag_colour)
        canvas.shape([(x - 0.05, 0.55), (x + 0.05, 0.55), (x + 0.06, 0.66), (x - 0.06, 0.66)], person.bag_colour)


def _head(canvas: _Canvas, person: Person, pose: Pose) -> None:
    aside = 0.02 * pose.turn
    if person.head == "long":
        canvas.limb([(0, 0.07), (0, 0.17)], [0.062, 0.066], person.hair)
    canvas.limb([(0, 0.12), (0, 0.16)], [0.028, 0.034], _dark(person.skin))
    canvas.oval((0, 0.072), (0.053, 0.07), person.hair)
    if pose.front:
        canvas.oval((aside, 0.082), (0.043, 0.056), person.skin)
        for eye in (-0.017, 0.017):
            canvas.oval((aside + eye, 0.078), (0.006, 0.005), (40, 30, 28))
        canvas.oval((0, 0.026), (0.046, 0.026), person.hair)
    elif person.head == "long":
        canvas.limb([(0, 0.07), (0, 0.19)], [0.058, 0.06], person.hair)
    if person.head == "bun":
        canvas.oval((0, 0.0), (0.028, 0.026), person.hair)
    if person.head in ("cap", "beanie"):
        brim = 0.042 if person.head == "cap" else 0.052
        canvas.oval((0, 0.036), (0.056, brim), person.bag_colour)
        if person.head == "cap" and pose.front:
            canvas.oval((aside, 0.056), (0.052, 0.012), _dark(person.bag_colour))
