"""What the page says of its gallery before anything is searched."""

from typing import Any

import numpy as np

from experiments.settings.webpage import Limits, Served
from experiments.webpage import asked, marking, uploads
from experiments.webpage.refusal import reading
from experiments.webpage.searcher import Searcher

CAMERAS = 200  # that are listed


@reading()
def state(searcher: Searcher, served: Served, limits: Limits) -> dict[str, Any]:
    """Gallery, marks, calibration and limits, as JSON has them."""
    gallery = searcher.gallery()
    right, wrong = marking.counts(marking.usable(searcher.kept.marks(), searcher.settings()))
    times = gallery.times[np.isfinite(gallery.times)]
    fitted = gallery.calibration
    return {
        "version": gallery.version,
        "pictures": len(gallery.maps),
        "identities": gallery.people is not None,
        "cameras": np.unique(gallery.cameras[gallery.cameras >= 0])[:CAMERAS].tolist(),
        "times": [float(times.min()), float(times.max())] if len(times) else None,
        "scales": list(searcher.scales),
        "k": served.k,
        "most": asked.MOST,
        "calibration": None if fitted is None else {"pairs": list(fitted.pairs), "method": fitted.method},
        "marks": {"right": right, "wrong": wrong, "needed": marking.NEEDED},
        "limits": {"bytes": limits.bytes, "pixels": limits.pixels, "types": list(uploads.FORMATS.values())},
    }
