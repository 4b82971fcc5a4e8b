"""The command that draws people as files."""

import data.draw
from data.builders.labels import camera_of
from data.source import decode
from tests.commands import command
from tests.runners import contents


def test_whole_pictures_and_parts_of_the_same_people(tmp_path, capsys):
    assert command(data.draw, f"--out={tmp_path}", "--people=2", "--images=3") == 0
    files = contents(tmp_path)
    wanted = {f"people/{p}/{p}_c1_{i}.png" for p in ("0150", "0151") for i in range(3)}
    assert set(files) == wanted | {"probes/0150_c0_0.png", "probes/0151_c0_0.png"}
    whole, part = (decode(files[name]) for name in ("people/0150/0150_c1_0.png", "probes/0150_c0_0.png"))
    assert part.shape[0] <= 0.76 * whole.shape[0] and camera_of("people/0150/0150_c1_0.png") == 1
    (tmp_path / "probes" / "0151_c0_0.png").unlink()
    assert command(data.draw, f"--out={tmp_path}", "--people=2", "--images=3") == 0
    assert contents(tmp_path) == files and "6 pictures in" in capsys.readouterr().out


def test_a_folder_is_needed(capsys):
    assert command(data.draw) == 1 and "--out is needed" in capsys.readouterr().err
