"""HTML pages of runs: results of an evaluation, course of a training, contact sheet of a data set, answer of a search.

`write_evaluation` shows tables, curves, distances, ranked lists (Fig. 12) and reconstruction maps. It fills one folder
with `index.html`, the drawings as SVG and the pictures as JPEG. The page opens from disk and asks the network for
nothing, which its Content-Security-Policy enforces; the one script that it may run is the one written into it. What is
shown is described by the frozen dataclasses of `tables`, `curves`, `distance_plot`, `ranked_lists`, `trends` and
`reconstruction_map`, which are here, too.

`write_training` replaces one file, which holds all that it shows, as often as it is called while a network is trained.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from dsr_jax.evaluation.intervals import Interval
from dsr_jax.formats import atomic
from dsr_jax.report import assets, contact_sheet, distance_plot, ranked_lists, reconstruction_map, svg, tables, trends
from dsr_jax.report import curves as drawing
from dsr_jax.report.assets import jpeg
from dsr_jax.report.distance_plot import DistancePlot
from dsr_jax.report.ranked_lists import Hit, RankedList
from dsr_jax.report.reconstruction_map import Reconstruction
from dsr_jax.report.tables import Cell, Compared, Row, Table, text_table
from dsr_jax.report.trends import Trace, Trend

__all__ = [
    "Cell",
    "Compared",
    "DistancePlot",
    "Hit",
    "Interval",
    "RankedList",
    "Reconstruction",
    "Row",
    "Table",
    "Trace",
    "Trend",
    "jpeg",
    "reconstruction_maps",
    "script",
    "text_table",
    "write_contact_sheet",
    "write_evaluation",
    "write_search",
    "write_training",
]

_FOLDER = Path(__file__).parent / "templates"
_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_evaluation(
    folder: str | os.PathLike,
    *,
    title: str,
    tables: Sequence[Table],
    curves: Sequence[drawing.Plot],
    ranked: Sequence[RankedList],
    config: Mapping[str, object],
    summary: str = "",
    distances: Sequence[DistancePlot] = (),
    reconstructions: Sequence[Reconstruction] = (),
) -> Path:
    """Writes the page of an evaluation.

    Args:
      folder: where to; made if missing. Drawings and pictures of an older page in it are removed.
      title: heading of the page.
      tables: figures per method.
      curves: CMC, ROC and other plots.
      ranked: probes with their nearest gallery pictures.
      config: name and value of every setting of the run.
      summary: a sentence or two under the heading.
      distances: histograms of the distances of pairs of one person and of different people.
      reconstructions: pairs whose reconstruction to show.

    Raises:
      ValueError: if a row has not as many cells as there are columns, a picture is not (H, W, 3) uint8, or a plot,
        histogram or reconstruction is not as its class describes. An older page then stays as it is.
    """
    files: assets.Files = {}
    script = (_FOLDER / "reconstruction.js").read_text(encoding="utf-8") if reconstructions else ""
    page = _page(
        "report.html",
        title,
        [summary] if summary else [],
        script,
        tables=[_table_context(table) for table in tables],
        plots=_filed("curves", _drawings("curves", drawing, curves), files),
        distances=_filed("distances", _drawings("distances", distance_plot, distances), files),
        ranked=[ranked_lists.context(entry, files) for entry in ranked],
        reconstructions=[reconstruction_map.context(entry, files) for entry in reconstructions],
        gradient=reconstruction_map.gradient(),
        config=[(name, _plain(value)) for name, value in config.items()],
    )
    return assets.replace(Path(folder), files, page)


def write_training(
    file: str | os.PathLike,
    *,
    title: str,
    parts: Mapping[str, Sequence[Trend]],
    config: Mapping[str, object],
    summary: str = "",
    refresh: int = 0,
) -> Path:
    """Writes the page of a training, whole or not at all.

    Args:
      file: where to; its folder is made if missing.
      title: heading of the page.
      parts: heading to the trends under it.
      config: name and value of every setting of the run.
      summary: a sentence or two under the heading.
      refresh: seconds after which an open page reads the file again; 0: never.

    Raises:
      ValueError: if a trend is not as its class describes. An older page then stays as it is.
    """
    page = _page(
        "training.html",
        title,
        [summary] if summary else [],
        parts=[
            (heading, _drawings(f"trend-{number}", trends, drawn))
            for number, (heading, drawn) in enumerate(parts.items())
        ],
        config=[(name, _plain(value)) for name, value in config.items()],
        refresh=refresh,
    )
    return atomic.write(file, page.encode(errors="backslashreplace"))


# The parameter `tables` of `write_evaluation` hides the module.
_table_context = tables.context


def write_contact_sheet(
    folder: str | os.PathLike,
    *,
    title: str,
    remarks: Sequence[str],
    tables: Sequence[Table],
    plots: Sequence[drawing.Plot],
    sections: Sequence[contact_sheet.Section],
) -> Path:
    """Writes the contact sheet of a data set.

    Raises:
      ValueError: if a row has not as many cells as there are columns, a picture is not (H, W, 3) uint8, a box is not
        inside its picture, or a plot is not as its class describes. An older page then stays as it is.
    """
    files: assets.Files = {}
    page = _page(
        "contact_sheet.html",
        title,
        remarks,
        tables=[_table_context(table) for table in tables],
        plots=_filed("curves", _drawings("curves", drawing, plots), files),
        sections=[contact_sheet.context(section, files) for section in sections],
    )
    return assets.replace(Path(folder), files, page)


def write_search(
    folder: str | os.PathLike,
    *,
    title: str,
    sections: Sequence[contact_sheet.Section],
    tables: Sequence[Table],
    reconstructions: Sequence[Reconstruction],
    config: Mapping[str, object],
) -> Path:
    """Writes the page of a search.

    Args:
      folder: where to; made if missing. Pictures of an older page in it are removed.
      title: heading of the page.
      sections: for every probe, the probe and its nearest pictures.
      tables: for every probe, its answer.
      reconstructions: pairs whose reconstruction to show.
      config: name and value of every setting of the run.

    Raises:
      ValueError: as `write_evaluation` and `write_contact_sheet`. An older page then stays as it is.
    """
    files: assets.Files = {}
    script = (_FOLDER / "reconstruction.js").read_text(encoding="utf-8") if reconstructions else ""
    page = _page(
        "search.html",
        title,
        [],
        script,
        sections=[contact_sheet.context(section, files) for section in sections],
        tables=[_table_context(table) for table in tables],
        reconstructions=[reconstruction_map.context(entry, files) for entry in reconstructions],
        gradient=reconstruction_map.gradient(),
        config=[(name, _plain(value)) for name, value in config.items()],
    )
    return assets.replace(Path(folder), files, page)


def reconstruction_maps(reconstructions: Sequence[Reconstruction]) -> str:
    """The section of reconstruction maps for a page that takes no styles but from its own files.

    Pictures are in it as data URLs. Styles of elements are in ``data-style``, for the script that puts the section into
    the page (`follow` of `reconstruction.js` then makes a ``.map`` answer).

    Raises:
      ValueError: if a reconstruction is not as its class describes.
    """
    files: assets.Files = {}
    shown: list[Any] = [reconstruction_map.context(entry, files) for entry in reconstructions]
    for picture in (side["picture"] for one in shown for side in one["sides"]):
        picture["file"] = "data:image/jpeg;base64," + base64.b64encode(files[picture["file"]]).decode()
    template = _TEMPLATES.get_template("reconstructions.html")
    section = template.render(reconstructions=shown, gradient=reconstruction_map.gradient())
    return section.replace(' style="', ' data-style="')  # quotes of names are escaped


def script(name: str) -> str:
    """The text of a script or style of the pages, such as "reconstruction.js"."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def _page(template: str, title: str, remarks: Sequence[str], script: str = "", **parts: object) -> str:
    """The text of a page."""
    palette = list(zip(svg.LIGHT, svg.DARK, strict=True))
    common: dict[str, object] = {"title": title, "remarks": remarks, "palette": palette}
    common |= {"script": Markup(script), "policy": _policy(script)}
    return _TEMPLATES.get_template(template).render(**common, **parts)


def _drawings(kind: str, module: Any, plots: Sequence[Any]) -> list[dict[str, Any]]:
    """Drawings as templates read them; the colours of those on the page follow the reader's theme."""
    found = []
    for number, plot in enumerate(plots):
        text = module.draw(plot)
        on_page = Markup(svg.for_page(text, prefix=f"{kind}-{number}-"))
        found.append({"caption": plot.caption, "text": text, "svg": on_page, "spoken": module.describe(plot)})
    return found


def _filed(kind: str, drawings: Sequence[dict[str, Any]], files: assets.Files) -> list[dict[str, Any]]:
    """The same, each also as a file."""
    return [
        drawn | {"file": assets.store(files, kind, "svg", svg.for_paper(drawn["text"]).encode())} for drawn in drawings
    ]


def _policy(script: str) -> str:
    """The page's Content-Security-Policy: its own files and, of all scripts, this one."""
    allowed = "'none'"
    if script:
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    return (
        "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; "
        f"script-src {allowed}; base-uri 'none'; form-action 'none'"
    )


def _plain(value: object) -> str:
    """A configuration value as text."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
