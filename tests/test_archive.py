"""Archives are read as the folders they hold, and hostile ones are refused by name before a byte is unpacked."""

import gzip
import io
import itertools
import random
import stat
import struct
import sys
import tarfile
import threading
import tracemalloc
import zipfile

import pytest

from data.sources import tarred, tree
from data.sources.members import Limits
from tests.trees import FORMS, picture, source

FILES = {
    "./top/b/2.JPG": picture(2, form="JPEG"),
    "top/a/1.tiff": picture(1, form="TIFF"),
    "top/a/._1.tiff": b"left behind",
    "__MACOSX/top/a/1.tiff": b"left behind",
    "top/Thumbs.db": b"left behind",
    "top/.DS_Store": b"left behind",
    "top/notes.txt": b"x" * 3_000_000,
    "top/a/empty.png": b"",
}
NAMES = ["top/a/1.tiff", "top/a/empty.png", "top/b/2.JPG", "top/notes.txt"]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_tree(tmp_path, form):
    found = tree.opened(source(tmp_path / "0001_c2", FILES, form), "x")
    names = {name.removeprefix("Set.ZIP/"): name for name in found.members}
    assert list(names) == NAMES
    assert [names[n] for n in NAMES[:3]] == found.pictures
    for name in random.Random(0).sample(NAMES, 4):
        assert found.read(names[name]) == FILES.get(name, FILES.get(f"./{name}"))
    held = found.files(found.members)
    assert set(held.values()) <= {path for path in (tmp_path / "0001_c2").rglob("*")} and all(map(str, held.values()))
    assert len(held) == (4 if form == "folder" else 1)


@pytest.mark.parametrize("form", ["folder", "zip", "tgz"])
def test_a_file_of_any_size_can_be_sought_in(tmp_path, form):
    found = tree.opened(source(tmp_path, FILES, form), "x", limits=Limits(picture=1000))
    with pytest.raises(ValueError, match=r"top/notes.txt in .* is larger than 1,000 bytes"):
        found.read("top/notes.txt")
    handle = found.handle("top/notes.txt")
    assert (handle.read_bytes() if form == "folder" else handle.read()) == FILES["top/notes.txt"]


def test_pictures_win_over_the_archives_beside_them(tmp_path):
    source(tmp_path, {"query/1.png": b"a"}, "zip")
    source(tmp_path, {"query/1.png": b"b"}, "folder")
    assert list(tree.opened(tmp_path, "x").members) == ["Set.ZIP", "query/1.png"]


def test_links_in_a_folder_are_followed_but_not_in_circles(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"a")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "query").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "again").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "gone.png").symlink_to(tmp_path / "nowhere")
    assert list(tree.opened(tmp_path / "set", "x").members) == ["query/a.png"]


def windows_zip(path, files):
    """A zip as old programs on Windows write it: backslashes, and folders that end with one."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo("x")
            member.filename = member.orig_filename = name
            member.create_system = 0
            archive.writestr(member, content)
    return path


def test_a_zip_with_backslashes_of_windows_is_read(tmp_path):
    path = windows_zip(tmp_path / "set.zip", {"a\\": b"", "a\\b\\1.JPG": b"one", "a\\2.jpg": b"two"})
    read = tree.opened(path, "x")
    assert {name: read.read(name) for name in read.members} == {"a/b/1.JPG": b"one", "a/2.jpg": b"two"}


@pytest.mark.parametrize("name", ["..\\out.jpg", "a\\..\\..\\out.jpg", "\\out.jpg", "C:\\out.jpg", "a/..\\out.jpg"])
def test_backslashes_of_windows_do_not_lead_out(tmp_path, name):
    with pytest.raises(ValueError, match=r"out.jpg in .* is outside the archive, by its path: not read"):
        tree.opened(windows_zip(tmp_path / "set.zip", {name: b"evil"}), "x")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("Set.ZIP", "Set.ZIP in it is not read: unpack it, or give it alone. Expected"),
        ("sub/Set.tgz", "sub/Set.tgz in it is not read: unpack it, or give it alone. Expected"),
        ("Partial-REID_Dataset.rar", "Partial-REID_Dataset.rar in it is not read: unpack it. Expected"),
    ],
)
def test_an_archive_that_was_not_looked_into_is_named(tmp_path, name, remedy):
    place = source(tmp_path / "set", {"screenshot.png": b"", name: b"x"}, "folder")
    with pytest.raises(ValueError, match=f"lacks everything; {remedy}"):
        raise tree.opened(place, "x").error("the tree", "lacks everything")
    outer = source(tmp_path / "outer", {name: b"x"}, "zip")
    with pytest.raises(ValueError, match=f"lacks everything; {name} in it is not read: unpack it. Expected"):
        raise tree.opened(outer, "x").error("the tree", "lacks everything")


# Hostile archives


@pytest.mark.parametrize("form", ["zip", "tar", "tgz"])
@pytest.mark.parametrize(
    "name",
    ["../out.jpg", "a/../../out.jpg", "/etc/out.jpg", "..\\out.jpg", "a\\out.jpg", "C:/out.jpg", "C:\\out.jpg", "a/.."],
)
def test_paths_that_leave_are_refused(tmp_path, form, name):
    path = source(tmp_path / "set", {"a/1.jpg": b"", name: b"evil"}, form)
    with pytest.raises(ValueError, match=r"(out.jpg|a/\.\.) in .* is outside the archive, by its path: not read"):
        tree.opened(path, "x")
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(["set", path.name])  # nothing was unpacked


def tar_with(path, **attributes):
    with tarfile.open(path, "w") as made:
        member = tarfile.TarInfo("a/link.jpg")
        for name, value in attributes.items():
            setattr(member, name, value)
        made.addfile(member)
    return path


@pytest.mark.parametrize(
    "attributes",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "a/1.jpg"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, attributes):
    path = tar_with(tmp_path / "set.tar", **attributes)
    with pytest.raises(ValueError, match=r"a/link.jpg in .*set.tar is a link or a device: not read"):
        tree.opened(path, "x")


@pytest.mark.parametrize("form", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, form):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as made:
        member = zipfile.ZipInfo("a/link.jpg")
        member.create_system, member.external_attr = 3, (form | 0o777) << 16
        made.writestr(member, "/etc/passwd")
    with pytest.raises(ValueError, match=r"a/link.jpg in .*set.zip is a link or a device: not read"):
        tree.opened(tmp_path / "set.zip", "x")


def test_encrypted_members_are_refused(tmp_path):
    path = source(tmp_path, {"a/1.jpg": b"secret"}, "zip")
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a/1.jpg in .* is encrypted"):
        tree.opened(path, "x")


@pytest.mark.parametrize("form", ["zip", "tar", "tgz"])
def test_too_many_members_are_refused(tmp_path, form):
    path = source(tmp_path, {f"{i}.jpg": b"" for i in range(30)}, form)
    assert len(tree.opened(path, "x", limits=Limits(members=30)).members) == 30
    with pytest.raises(ValueError, match="has more than 29 members"):
        tree.opened(path, "x", limits=Limits(members=29))


@pytest.mark.parametrize("form", ["zip", "tar"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path, form):
    path = source(tmp_path, {"a/1.jpg": b"1", "./a/1.jpg": b"2"}, form)
    with pytest.raises(ValueError, match="holds a/1.jpg twice"):
        tree.opened(path, "x")


@pytest.mark.parametrize("name", ["a\x00b.jpg", "a\nb.jpg", "a\udcffb.jpg"])
def test_names_that_cannot_be_shown_are_refused(tmp_path, name):
    with tarfile.open(tmp_path / "set.tar", "w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo("a-b.jpg")
        member.pax_headers = {"path": name} if "\udcff" not in name else {}
        member.name = name if "\udcff" in name else "a-b.jpg"
        made.addfile(member)
    with pytest.raises(ValueError, match="unreadable name"):
        tree.opened(tmp_path / "set.tar", "x")


@pytest.mark.parametrize("form", ["zip", "tar", "tgz"])
def test_bombs_by_announced_size_are_refused_before_they_are_unpacked(tmp_path, form):
    path = source(tmp_path, {"a/1.jpg": b"", "a/bomb.jpg": bytes(50 << 20)}, form)
    limits = Limits(small=1 << 20) if form != "tar" else Limits(total=1 << 20)  # a tar does not grow
    tracemalloc.start()
    with pytest.raises(ValueError, match="would hold more than .* bytes when unpacked"):
        tree.opened(path, "x", limits=limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_bomb_that_is_no_tar_is_stopped_while_it_is_unpacked(tmp_path):
    with gzip.open(tmp_path / "set.tgz", "wb") as made:
        for _ in range(20):
            made.write(bytes(1 << 20))
    with pytest.raises(ValueError, match="set.tgz would hold more than 4,194,304 bytes when unpacked: not read"):
        tree.opened(tmp_path / "set.tgz", "x", limits=Limits(small=4 << 20))


def lying_zip(path, *, real: int, announced: int):
    """A zip whose one member is announced smaller than it is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/bomb.jpg", bytes(real))
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(mark) + offset, announced)
    path.write_bytes(content)
    return path


def test_a_zip_that_lies_about_its_size_is_found_out_in_bounded_memory(tmp_path):
    found = tree.opened(lying_zip(tmp_path / "set.zip", real=60 << 20, announced=1000), "x")
    tracemalloc.start()
    with pytest.raises(ValueError, match="a/bomb.jpg in .* is damaged"):
        found.read("a/bomb.jpg")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_tar_with_a_header_of_any_length_is_refused_in_bounded_memory(tmp_path):
    member = tarfile.TarInfo("././@PaxHeader")
    member.type, member.size = tarfile.XHDTYPE, 60 << 20
    with gzip.open(tmp_path / "set.tar.gz", "wb") as made:
        made.write(member.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(60):
            made.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="is not a tar file that can be read .a header of 62,914,560 bytes"):
        tree.opened(tmp_path / "set.tar.gz", "x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("form", ["zip", "tar", "tgz"])
def test_a_truncated_archive_is_named_wherever_it_was_cut(tmp_path, form):
    path = source(tmp_path, {f"a/{i}.jpg": bytes([i]) * 700 for i in range(4)}, form)
    content = path.read_bytes()
    end = len(content) if form != "tar" else 4 * (512 + 1024)  # a tar ends in blocks of zeros, of which one is enough
    for cut in sorted({1, 5, 511, 512, 513, 1024, 1536, 1537, end // 2, end - 1} & set(range(1, end))):
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match=r"is not a (zip|tar|tar.gz) file that can be read .*: copy it again"):
            tree.opened(path, "x")


@pytest.mark.parametrize("form", ["zip", "tar", "tgz"])
def test_any_flipped_bit_is_a_value_error_or_a_tree(tmp_path, form):
    files = {f"a/{i}.jpg": random.Random(i).randbytes(300) for i in range(3)}
    path = source(tmp_path, files, form)
    content = path.read_bytes()
    rng = random.Random(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = tree.opened(path, "x")
            for name in found.members:
                found.read(name)
            outcomes.add("read")
        except ValueError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_other_archives_are_refused_with_the_remedy(tmp_path):
    for name in ("a.rar", "a.7z", "a.tar.bz2", "a.tar.xz"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=r"\.zip, \.tar and \.tar\.gz are read; unpack it"):
            tree.opened(tmp_path / name, "x")
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"(?s)is not what this data set reads.*the tree │ a.txt .a file."):
        tree.opened(tmp_path / "a.txt", "the tree")
    with pytest.raises(ValueError, match="--source is needed"):
        tree.opened(None, "the tree")


def test_a_tar_of_negative_sizes_is_refused(tmp_path):
    member = tarfile.TarInfo("a/1.jpg")
    header = bytearray(member.tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = (-1024 & (1 << 96) - 1).to_bytes(12, "big")  # the size, in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\x00 " % sum(header)
    (tmp_path / "set.tar").write_bytes(header + bytes(10240))
    with pytest.raises(ValueError, match="a/1.jpg in .* is of negative size|is not a tar file"):
        tree.opened(tmp_path / "set.tar", "x")


def test_a_tar_of_headers_without_end_is_refused(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type = tarfile.XHDTYPE
    (tmp_path / "set.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) * 5000)
    with pytest.raises(ValueError, match="is not a tar file that can be read"):
        tree.opened(tmp_path / "set.tar", "x")


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    source(tmp_path / "set", FILES, "folder")

    def refuse(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError):
        tree.opened(tmp_path / "set", "x")


# Speed, memory, threads


def test_a_tar_gz_is_unpacked_once_however_it_is_read(tmp_path, monkeypatch):
    files = {f"a/{i:03d}.jpg": random.Random(i).randbytes(2000) for i in range(500)}
    path = source(tmp_path, files, "tgz")
    unpacked = itertools.count()
    genuine = gzip.open
    monkeypatch.setattr(tarred.gzip, "open", lambda *args: (next(unpacked), genuine(*args))[1])
    found = tree.opened(path, "x")
    for name in reversed(found.pictures):
        assert found.read(name) == files[name]
    assert next(unpacked) == 1


@pytest.mark.parametrize("form", ["zip", "tgz", "tar"])
def test_any_number_of_threads_may_read(tmp_path, form):
    files = {f"a/{i}.jpg": random.Random(i).randbytes(50_000) for i in range(8)}
    found = tree.opened(source(tmp_path, files, form), "x")
    wrong = []

    def read(seed: int) -> None:
        for name in random.Random(seed).choices(sorted(files), k=40):
            if found.read(name) != files[name]:
                wrong.append(name)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that they do get into each other's way
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert not wrong


def test_an_archive_that_shrinks_while_it_is_read_is_named(tmp_path):
    path = source(tmp_path, {"a/1.jpg": b"1" * 5000}, "tar")
    found = tree.opened(path, "x")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="has become shorter"):
        found.read("a/1.jpg")


def test_a_header_may_not_be_read_to_the_end():
    with pytest.raises(tarfile.ReadError):
        tarred._Headers(io.BytesIO(b"x")).read()
