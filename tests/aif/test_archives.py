"""Archives: the same bytes for the same input, and hostile ones are refused unread."""

from __future__ import annotations

import ast
import io
import tarfile
import zipfile

import pytest

from nnw_onnx.aif import codes
from nnw_onnx.aif.archives import METADATA, pack, read_archive
from nnw_onnx.aif.catalogue import open_workflow
from nnw_onnx.aif.controller import Controller
from nnw_onnx.aif.descriptors import descriptor
from nnw_onnx.aif.files import as_json
from nnw_onnx.aif.reading import MOST_DESCRIPTOR
from nnw_onnx.aif.workflows import BY_FORM, NIR
from nnw_onnx.errors import DatasetError, FrameworkError, NnwError

from .modules import Stepwise

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("form", ["v2", "v3"])
def test_what_is_packed_is_read(tmp_path, suffix, form):
    (tmp_path / "nnw.whl").write_bytes(b"wheel")
    path = tmp_path / f"a{suffix}"
    for workflow in BY_FORM[form]:
        held = pack(workflow, path, form, "123", [tmp_path / "nnw.whl"])
        assert held == (METADATA, f"{workflow.short.lower()}.py", "nnw.whl")
        found = read_archive(path)
        assert found.workflow.short == workflow.short
        assert set(found.binaries) == set(held[1:])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_input_gives_the_same_bytes(tmp_path, suffix):
    for name in "ab":
        pack(NIR, tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_members_tell_nothing_of_the_machine(tmp_path):
    pack(NIR, tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        for member in archive:
            assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
            assert (member.uname, member.gname) == ("", "")
            if member.name.endswith(".py"):
                script = archive.extractfile(member).read()
    ast.parse(script)
    assert b'"aif", "run"' in script


def test_the_interface_of_the_store_reads_an_archive(tmp_path):
    pack(NIR, tmp_path / "a.tar.gz")
    with Controller(Stepwise()) as controller:
        found = controller.MPAI_AIFS_GetAndParseArchive(tmp_path / "a.tar.gz")
        flow = controller.MPAI_AIFU_AIW_Start(found.workflow)
        assert controller.MPAI_AIFU_AIM_GetStatus(flow) == codes.MPAI_AIM_ALIVE
    assert open_workflow(str(tmp_path / "a.tar.gz")).channels == NIR.channels


def test_what_cannot_be_packed_is_one_line(tmp_path):
    with pytest.raises(
        FrameworkError, match=r"expected an archive named .tar, .tar.gz, .tgz, .zip"
    ):
        pack(NIR, tmp_path / "a.rar")
    (tmp_path / METADATA).write_text("{}")
    (tmp_path / "one").mkdir()
    for folder in (tmp_path, tmp_path / "one"):
        (folder / "w.whl").write_text("")
    for binaries in ([tmp_path / METADATA], [tmp_path / "w.whl", tmp_path / "one" / "w.whl"]):
        with pytest.raises(
            FrameworkError, match="expected binaries of different names, none of them"
        ):
            pack(NIR, tmp_path / "a.tar", binaries=binaries)
    with pytest.raises(FrameworkError, match="expected a file that can be read, got: No such file"):
        pack(NIR, tmp_path / "a.tar", binaries=[tmp_path / "none.whl"])


GOOD = as_json(descriptor(NIR))


def tar(path, *members):
    """Members (name, content), or (name, None, type, target of a link)."""
    with tarfile.open(path, "w") as archive:
        for name, content, *kind in members:
            member = tarfile.TarInfo(name)
            member.size = len(content or b"")
            if kind:
                member.type, member.linkname = kind
            archive.addfile(member, io.BytesIO(content or b""))
    return path


SCRIPT = ("nnw-nir.py", b"raise SystemExit(1)")
HOSTILE = [
    ("escapes", [(METADATA, GOOD), ("../nnw-nir.py", b"x")], "archive, got '../nnw"),
    ("absolute", [(METADATA, GOOD), ("/etc/x.py", b"x")], "archive, got '/etc/x.py'"),
    ("drive", [(METADATA, GOOD), ("c:\\x.py", b"x")], "inside the archive, got "),
    ("link", [(METADATA, GOOD), ("x", None, tarfile.SYMTYPE, "/etc/x")], "plain files"),
    ("hard link", [(METADATA, GOOD), ("x", None, tarfile.LNKTYPE, METADATA)], "plain files"),
    ("device", [(METADATA, GOOD), ("x", None, tarfile.CHRTYPE, "")], "plain files"),
    ("pipe", [(METADATA, GOOD), ("x", None, tarfile.FIFOTYPE, "")], "plain files"),
    ("no metadata", [SCRIPT], r"expected one AIW metadata file .* got 0 and 1; pack it with"),
    ("no binary", [(METADATA, GOOD)], r"one AIW metadata file .* got 1 and 0; pack it"),
    ("two", [(METADATA, GOOD), ("B.json", GOOD), SCRIPT], r"expected one AIW .* got 2 and 1; pack"),
    ("no JSON", [(METADATA, b"{"), SCRIPT], "AIW.json: expected JSON, got what is none"),
    ("large", [(METADATA, b" " * (MOST_DESCRIPTOR + 1)), SCRIPT], "AIW.json: expected at most 1"),
    (
        "other code",
        [(METADATA, GOOD.replace(b"NNW-MFM-V2.0", b"EVI-LLL-V2.0")), SCRIPT],
        "SubAIMs: expected modules of this package, got 'EVI-LLL-V2.0'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("members", "line"), [one[1:] for one in HOSTILE], ids=[h[0] for h in HOSTILE]
)
def test_a_hostile_archive_is_refused_in_one_line(tmp_path, members, line):
    path = tar(tmp_path / "a.tar", *members)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(NnwError, match=line) as caught:
        read_archive(path)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_that_says_it_is_huge_is_refused_before_it_is_read(tmp_path):
    member = tarfile.TarInfo("x.bin")
    member.size = 1 << 40
    (tmp_path / "a.tar").write_bytes(member.tobuf() + bytes(1024))
    with pytest.raises(DatasetError, match="expected files of at most 256 MiB, got a larger one"):
        read_archive(tmp_path / "a.tar")


def test_a_zip_with_a_link_or_a_name_that_leaves_it_is_refused(tmp_path):
    for name, mode in (("x", 0o120777), ("../x", 0o100644)):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(METADATA, GOOD)
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "/etc/passwd")
        with pytest.raises(
            DatasetError, match="expected plain files and folders with names inside"
        ):
            read_archive(tmp_path / "a.zip")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_no_archive_or_is_cut_is_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"no archive at all")
    with pytest.raises(DatasetError, match="expected a whole, readable file, got"):
        read_archive(path)
    pack(NIR, path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(NnwError):
        read_archive(path)


def test_what_an_archive_holds_is_never_executed(tmp_path):
    """The script in it would leave a file."""
    left = tmp_path / "left"
    bad = f"open({str(left)!r}, 'w')".encode()
    path = tar(tmp_path / "a.tar", (METADATA, GOOD), ("nnw-nir.py", bad), ("sitecustomize.py", bad))
    with Controller(Stepwise()) as controller:
        controller.MPAI_AIFU_AIW_Start(open_workflow(str(path)))
    assert not left.exists()
