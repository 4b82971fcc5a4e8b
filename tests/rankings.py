"""Small rankings for the tests of ranking and verification, and the rules written out, one entry at a time."""

import math

import numpy as np
from hypothesis import strategies as st


@st.composite
def rankings(draw, people=3):
    """Distances, identities and cameras: many ties, junk, unknown cameras and people missing from the gallery."""
    probes, gallery = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    column = st.integers(0, 4) | st.just(math.inf)
    distances = draw(st.lists(st.lists(column, min_size=gallery, max_size=gallery), min_size=probes, max_size=probes))
    labels = lambda n, low, high: draw(st.lists(st.integers(low, high), min_size=n, max_size=n))  # noqa: E731
    return (
        np.array(distances, np.float32),
        labels(probes, -1, people),
        labels(gallery, -1, people),
        labels(probes, -1, 2),
        labels(gallery, -1, 2),
    )


def listed(distances, probe_ids, gallery_ids, probe_cams, gallery_cams):
    """For each probe (distance, place in the gallery, whether it is her) of the entries that Market-1501 leaves."""
    for row, identity, camera in zip(distances, probe_ids, probe_cams, strict=True):
        left = []
        for place, (distance, other, seen) in enumerate(zip(row, gallery_ids, gallery_cams, strict=True)):
            nobody = other == -1 or identity == -1
            same_photo_side = other == identity and seen == camera and camera != -1
            if not nobody and not same_photo_side:
                left.append((float(distance), place, other == identity))
        yield left
