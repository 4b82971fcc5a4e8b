"""The page of a search: what its routes answer, and that nobody gets the answer of another."""

import base64
import concurrent.futures
import io
import json
import re
import signal

import jax
import numpy as np
import pytest
from PIL import Image

from dsr_jax import fcn, match
from experiments import search, serve
from experiments.webpage import listening, padding
from tests import page_server, people
from tests.page_server import place
from tests.runners import call, finished, start

USERS = 20
CLOSE = ("distance", "lower", "upper")  # probes are padded: equal but for rounding


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return page_server.people(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def client(folder):
    with page_server.open_page(page_server.settings(folder), folder) as client:
        yield client


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bits(mask):
    rows, columns = mask.shape
    return f"{rows},{columns},{base64.urlsafe_b64encode(np.packbits(mask).tobytes()).decode()}"


def test_the_page_and_its_files_are_all_there(client):
    page = client.get("/")
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    html = page.body.decode()
    named = [word.split('"')[0] for word in html.replace('src="', 'href="').split('href="')[1:]]
    files = [name for name in named if name.startswith("/static/")]
    assert len(files) == 4 and not [name for name in named if name.startswith(("http", "//"))]
    for name in [*files, "/static/probe.js", "/static/answer.js", "/static/server.js"]:
        reply = client.get(name)
        assert reply.status == 200 and reply.headers["content-type"].startswith(("text/css", "text/javascript")), name
        assert reply.headers["cache-control"] == "no-store"
    assert client.get("/static/page.html").status == client.get("/static/../../serve.py").status == 404
    assert client.get("/nothing").status == 404


def test_the_state_of_the_gallery(client):
    state = client.get("/state").json()
    assert state["pictures"] == 10 and state["cameras"] == [1] and state["identities"] is True
    assert state["scales"] == ["width", "keep"] and state["calibration"] is None
    assert state["marks"]["needed"] == 20 and state["limits"]["types"][0] == "image/jpeg"


def check_as_searched(client, folder, capsys, *flags):
    answer = client.search(client.picture("probe/3.png"), k=4)
    probe = f"--probe={folder / 'probe' / '3.png'}"
    arguments = [text for text in page_server.SMALL if "port" not in text and "seconds" not in text]
    capsys.readouterr()
    gallery, weights = f"--gallery={folder / '.dsr_jax_gallery_people.csv'}", f"--weights={folder / 'vgg16.npz'}"
    assert call(search, gallery, weights, *arguments, *flags, probe, "-k", "4", "--json") == 0
    (other,) = json.loads(capsys.readouterr().out)["answers"]
    for hit, wanted in zip(answer["hits"], other["hits"], strict=True):
        assert {name: pytest.approx(hit[name], abs=1e-5) if name in CLOSE else hit[name] for name in wanted} == wanted
    assert answer["searched"] == 10 and answer["hits"][0]["proven"] == "gallery"
    assert "10 pictures searched" in answer["sentences"][0]
    html = client.get(place(answer, 2, "map")).body.decode()
    assert f"distance {answer['hits'][1]['distance']:.3f}" in html
    return [hit["distance"] for hit in answer["hits"]]


def test_an_answer_is_that_of_the_search_command(client, folder, tmp_path, capsys):
    plain = check_as_searched(client, folder, capsys)
    with page_server.open_copy(folder, tmp_path / "own", "--probe_weights=norm") as weighted:
        assert check_as_searched(weighted, folder, capsys, "--probe_weights=norm") != plain


def test_pictures_and_maps_of_an_answer(client):
    answer = client.search(client.picture("probe/2.png"), k=2)
    picture = client.get(place(answer, 1, "picture"))
    assert picture.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(picture.body)).size == (32, 64)
    html = client.get(place(answer, 2, "map")).body.decode()
    assert "Your picture from " + answer["hits"][1]["name"] in html
    assert "data:image/jpeg;base64," in html and ' style="' not in html and "data-style=" in html
    assert client.get(place(answer, 3, "map")).status == 404
    assert client.get("/answers/guessed/1/picture").status == 410


def test_a_box_is_cut(client):
    whole = client.picture("gallery/3_0.png")
    frame = np.zeros((90, 100, 3), np.uint8)
    frame[7:71, 11:43] = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    part, alone = client.search(png(frame), box="11,7,32,64"), client.search(whole)
    assert part["hits"] == alone["hits"] and part["matched_size"] == [64, 32]
    keep = client.search(whole, scale="keep")
    assert keep["hits"] == alone["hits"]
    for box, wrong in (("80,7,32,64", "not inside the picture of 100 x 90"), ("1,2,3", "left,top"), ("a", "numbers")):
        reply = client.post("/search", png(frame), box=box)
        assert reply.status == 400 and wrong in reply.error
    reply = client.post("/search", png(frame), box="0,0,1,80")
    assert reply.status == 422 and "Draw another box" in reply.error and "--" not in reply.error


def test_paint_is_a_mask_of_the_map(client, folder):
    whole = client.picture("gallery/3_0.png")
    painted = np.zeros((32, 16), bool)
    painted[:16] = True
    answer = client.search(whole, mask=bits(painted), k=3)
    assert answer["mask"] == [[1, 1], [1, 1], [0, 0], [0, 0]]
    gallery = match.Gallery.open(folder / ".dsr_jax_gallery_people.csv", grouped=False)
    probe = gallery.maps[gallery.names.index("gallery/3_0.png")]
    wanted = match.search(probe, gallery, 3, probe_masks=[np.array(answer["mask"])])
    assert [hit["name"] for hit in answer["hits"]] == list(wanted.names)
    np.testing.assert_allclose([hit["distance"] for hit in answer["hits"]], wanted.distance, atol=2e-3)
    assert "crossed: masked" in client.get(place(answer, 1, "map")).body.decode()
    assert client.search(whole, mask=bits(np.ones((3, 3), bool)))["hits"] == client.search(whole)["hits"]
    for mask, wrong in ((bits(np.zeros((4, 4), bool)), "Too little"), ("9,9,AAAA", "paint it again")):
        reply = client.post("/search", whole, mask=mask)
        assert reply.status == 400 and wrong in reply.error


def test_filters(client):
    picture = client.picture("probe/1.png")
    times = client.get("/state").json()["times"]
    assert client.search(picture, cameras="1", after=times[0], before=times[1] + 1)["searched"] == 10
    assert client.search(picture, after=times[1])["searched"] < 10
    for query in ({"cameras": "7"}, {"before": "5"}):
        reply = client.post("/search", picture, **query)
        assert reply.status == 404 and "filters" in reply.error
    for query in ({"cameras": "x"}, {"after": "noon"}, {"k": "0"}, {"k": "999"}, {"scale": "huge"}):
        assert client.post("/search", picture, **query).status == 400, query


def test_twenty_users_get_their_own_answers(client):
    rng = np.random.default_rng(0)
    probes = []
    for user in range(USERS):  # each a part of one picture, of its own
        pixels = np.asarray(Image.open(io.BytesIO(client.picture(f"gallery/{user % 5}_{user % 2}.png"))).convert("RGB"))
        noisy = pixels.astype(int) + rng.integers(-20, 20, pixels.shape)
        probes.append(png(noisy.clip(0, 255).astype(np.uint8)[: 40 + user]))
    wanted = [client.search(probe, k=5) for probe in probes]

    def use(user):
        answer = client.search(probes[user], k=5)
        picture = client.get(place(answer, 1, "picture")).body
        return answer, picture, client.get(place(answer, 1, "map")).body.decode()

    with concurrent.futures.ThreadPoolExecutor(USERS) as pool:
        found = list(pool.map(use, range(USERS)))
    assert len({answer["answer"] for answer, _, _ in found}) == USERS
    for (answer, picture, html), alone in zip(found, wanted, strict=True):
        assert answer["hits"] == alone["hits"] and answer["matched_size"] == alone["matched_size"]
        assert picture == client.get(place(alone, 1, "picture")).body
        assert html == client.get(place(alone, 1, "map")).body.decode()


def test_what_is_not_installed_is_named(folder, monkeypatch, capsys):
    monkeypatch.setattr(serve, "NEEDED", ("starlette", "no_such_package"))
    assert call(serve, f"--gallery={folder}", f"--weights={folder / 'vgg16.npz'}") == 1
    assert "no_such_package must be installed: pip" in capsys.readouterr().err


def test_errors_at_start(client, folder, tmp_path, capsys):
    other = fcn.init(jax.random.key(1), width=1 / 32)
    named = {f"{layer}/{name}": values for layer, leaf in other.items() for name, values in leaf.items()}
    np.savez(tmp_path / "other.npz", **named)
    arguments = [text for text in page_server.SMALL if "size" not in text]
    weights, gallery = f"--weights={folder / 'vgg16.npz'}", f"--gallery={folder / '.dsr_jax_gallery_people.csv'}"
    for given, wrong in (
        ((weights, f"--gallery={tmp_path / 'none'}", "--size=64,32"), "gallery: there is none"),
        ((weights, gallery, "--size=96,32"), "size is .* in the gallery"),
        ((f"--weights={tmp_path / 'other.npz'}", gallery, "--size=64,32"), "sha256 is .* in the gallery"),
        ((gallery, "--size=64,32"), "weights is missing"),
        ((weights, gallery, "--prune"), "prune is about pictures"),
        ((weights, gallery, "--index_batch=2"), "index_batch is about pictures"),
        ((weights, "--size=64,32"), "pictures is missing"),
        ((weights, gallery, "--host=203.0.113.9"), "host=203.0.113.9.*give another"),
        ((weights, gallery, f"--kept={folder / 'vgg16.npz'}", "--size=64,32"), "kept: .*vgg16.npz"),
    ):
        assert call(serve, *arguments, *given) == 1, given
        assert re.search(wrong, capsys.readouterr().err), given


@pytest.mark.parametrize("size", [(64, 32), (48, 32), (40, 20), (100, 32), (31, 17)])
def test_a_padded_picture_has_the_map_that_it_has_alone(size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    network = people.NETWORK._replace(size=(64, 32))
    (found,), (alone,) = padding.Padded(*network).maps([picture]), network.maps([picture])
    np.testing.assert_allclose(found, alone, atol=1e-4 * abs(alone).max())
    shape = padding.padded(size, (64, 32), 16)
    assert all(side % 16 == 0 and side >= of for side, of in zip(shape, size, strict=True))


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])
def test_an_open_host_is_warned_of(client, folder, monkeypatch, capsys, host, warned):
    monkeypatch.setattr(listening, "serve", lambda *_: None)
    given = f"--gallery={folder / '.dsr_jax_gallery_people.csv'}", f"--weights={folder / 'vgg16.npz'}", f"--host={host}"
    assert call(serve, *given, *page_server.SMALL) == 0
    shown = capsys.readouterr().out
    assert ("WARNING: --host=0.0.0.0 lets other machines in" in shown) == warned and "page: http://" in shown


@pytest.mark.slow
@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_the_page_ends_in_peace(client, folder, way):
    given = f"--gallery={folder / '.dsr_jax_gallery_people.csv'}", f"--weights={folder / 'vgg16.npz'}"
    process = start("experiments.serve", *given, *page_server.SMALL)
    lines = iter(process.stdout.readline, "")
    port = int(re.search(r":(\d+)/", next(line for line in lines if line.startswith("page:")))[1])
    other = page_server.Client(port, people=folder)
    other.token = client.token  # of another page
    assert other.get("/state").json()["pictures"] == 10
    assert other.post("/search", other.picture("probe/1.png")).status == 403
    process.send_signal(way)
    output, errors = finished(process)
    assert output.endswith("the page is closed\n") and "Traceback" not in errors
