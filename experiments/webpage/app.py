"""The routes of the page: what is asked is read, given to the search's thread, and answered as JSON."""

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import jinja2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dsr_jax import report
from experiments.searching import answers, showing
from experiments.settings.webpage import Limits, Served
from experiments.webpage import asked, marking
from experiments.webpage.gate import Gate, refusal
from experiments.webpage.held import Answers, Held
from experiments.webpage.kept import Mark
from experiments.webpage.refusal import Refused
from experiments.webpage.searcher import Searched, Searcher
from experiments.webpage.state import state
from experiments.webpage.uploads import Uploads
from experiments.webpage.worker import Worker

STATIC = Path(__file__).parent / "static"
TYPES = {"css": "text/css", "js": "text/javascript"}
VERDICTS = {"right": True, "wrong": False, "none": None}
QUICK = 200  # marks and the like that may wait

T = TypeVar("T")


class Page:
    """The page: what its routes share.

    Args:
      searcher: the search behind it.
      served: where it is served.
      limits: what it takes.
    """

    def __init__(self, searcher: Searcher, served: Served, limits: Limits) -> None:
        self._searcher, self._served, self._limits = searcher, served, limits
        self._answers, self._uploads = Answers(), Uploads(limits)
        self._searching, self._keeping = Worker("search", limits.waiting), Worker("keep", QUICK)
        routes = [
            Route("/", self._page),
            Route("/static/{name}", self._static),
            Route("/state", self._state),
            Route("/search", self._search, methods=["POST"]),
            Route("/answers/{answer}/{rank:int}/picture", self._picture),
            Route("/answers/{answer}/{rank:int}/map", self._map),
            Route("/answers/{answer}/{rank:int}/mark", self._mark, methods=["POST"]),
            Route("/entries", self._add, methods=["POST"]),
            Route("/calibration", self._calibrate, methods=["POST"]),
            Route("/marks.json", self._marks),
        ]
        handlers: Any = {Refused: _refused, OSError: _unwritten, Exception: _failed}
        inner = Starlette(routes=routes, exception_handlers=handlers)
        self.app = Gate(inner, host=served.host, names=served.host_names or (), seconds=limits.seconds)
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(STATIC), autoescape=True, undefined=jinja2.StrictUndefined
        )
        self._html = environment.get_template("page.html").render(token=self.app.token)
        self._files = {
            file.name: file.read_text(encoding="utf-8") for file in STATIC.iterdir() if file.suffix != ".html"
        }
        self._files |= {name: report.script(name) for name in ("reconstruction.js", "reconstruction.css")}

    def close(self) -> None:
        """Ends the threads."""
        self._searcher.warming.stop()
        self._searching.close()
        self._keeping.close()

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(self._html)

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise Refused(404, "There is no such file: reload the page.")
        return PlainTextResponse(self._files[name], media_type=TYPES[name.rpartition(".")[2]])

    async def _state(self, request: Request) -> Response:
        return JSONResponse(await self._keeping.do(lambda: state(self._searcher, self._served, self._limits)))

    async def _search(self, request: Request) -> Response:
        content, query = await self._uploads.read(request), request.query_params
        part, wanted, k = asked.part(query), asked.filters(query), asked.places(query, self._served.k)
        scale = query.get("scale") or "width"
        work = self._searching.do(lambda: self._searcher.search(content, part, wanted, k=k, scale=scale))
        found = await _wanted(request, work)
        return JSONResponse(_shown(found) | {"answer": self._answers.keep(found.held)})

    async def _picture(self, request: Request) -> Response:
        held, rank = self._place(request)
        name = held.place(rank).name
        content = await self._keeping.do(lambda: self._searcher.picture(name))
        if content is None:
            raise Refused(404, f"There is no picture of {name} here: start the page with --pictures.")
        return Response(content, media_type="image/jpeg")

    async def _map(self, request: Request) -> Response:
        held, rank = self._place(request)
        return HTMLResponse(await _wanted(request, self._searching.do(lambda: self._searcher.map(held, rank))))

    async def _mark(self, request: Request) -> Response:
        held, rank = self._place(request)
        verdict = request.query_params.get("verdict", "")
        if verdict not in VERDICTS:
            raise Refused(400, "The verdict must be right, wrong or none: press one of the buttons.")
        hit = held.place(rank)
        about = hit.distance, held.shown.version, held.settings
        mark = Mark(held.digest, hit.name, hit.identity, hit.camera, VERDICTS[verdict], *about)

        def kept() -> list[Mark]:
            self._searcher.kept.mark(mark)
            return marking.usable(self._searcher.kept.marks(), held.settings)

        right, wrong = marking.counts(await self._keeping.do(kept))
        return JSONResponse({"right": right, "wrong": wrong, "needed": marking.NEEDED})

    async def _add(self, request: Request) -> Response:
        content, query = await self._uploads.read(request), request.query_params
        part = asked.part(query)
        labels = asked.labels(query, name=f"added/{part.digest(content)[:12]}")
        gallery = await _wanted(request, self._searching.do(lambda: self._searcher.add(content, part, labels)))
        return JSONResponse({"name": labels.name, "version": gallery.version, "pictures": len(gallery.maps)})

    async def _calibrate(self, request: Request) -> Response:
        fitted = await self._searching.do(self._searcher.calibrate)
        return JSONResponse({"pairs": list(fitted.pairs), "method": fitted.method})

    async def _marks(self, request: Request) -> Response:
        marks = await self._keeping.do(lambda: self._searcher.kept.marks(all_of_them=True))
        text = json.dumps([mark._asdict() for mark in marks], indent=1)
        return Response(
            text, media_type="application/json", headers={"content-disposition": 'attachment; filename="marks.json"'}
        )

    def _place(self, request: Request) -> tuple[Held, int]:
        return self._answers.find(request.path_params["answer"]), request.path_params["rank"]


def _shown(found: Searched) -> dict[str, Any]:
    """An answer as the page shows it: that of `experiments.search`, and its cells as text."""
    answer = answers.as_json(found.answer)
    for hit, place in zip(answer["hits"], found.answer.hits, strict=True):
        hit["cells"] = dict(zip(showing.COLUMNS, showing.cells(place), strict=True))
    mask = found.held.probe.mask
    return answer | {"sentences": found.sentences, "mask": None if mask is None else mask.astype(int).tolist()}


async def _wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, given up when its asker hangs up."""
    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Refused(400, "Nobody waits for the answer any more.")
        return await working
    finally:
        working.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Ends when the asker hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(request: Request, error: Refused) -> Response:
    return refusal(error)


async def _unwritten(request: Request, error: OSError) -> Response:
    what = (
        "It was not kept" if request.url.path.endswith(("/mark", "/entries", "/calibration")) else "It cannot be read"
    )
    return refusal(Refused(507, f"{what}: {error}"))


async def _failed(request: Request, error: Exception) -> Response:
    return refusal(Refused(500, "Something failed that should not: the terminal of the program says what."))
