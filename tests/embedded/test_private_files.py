"""Files that root writes are created and opened without following links."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.embedded.data_folder import DataFolder, SavedState, explaining_os_errors
from helpers.embedded.private_files import (
    create_folder,
    delete_file,
    locked_file,
    open_file,
    read_file,
    write_file,
)
from helpers.embedded.server import spawn_process
from helpers.errors import ServerError


def _link(file: Path, target: Path) -> None:
    file.symlink_to(target)


def _hard_link(file: Path, target: Path) -> None:
    file.hardlink_to(target)


def _fifo(file: Path, _: Path) -> None:
    os.mkfifo(file)


def _folder(file: Path, _: Path) -> None:
    file.mkdir()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that must not be read or changed."""
    file = tmp_path / "target"
    file.write_text("before")
    file.chmod(0o644)
    return file


PUT = pytest.mark.parametrize("put", [_link, _hard_link, _fifo, _folder])


@PUT
@pytest.mark.parametrize(
    "use",
    [
        lambda file: open_file(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT),
        read_file,
        lambda file: locked_file(file, wait_seconds=0).__enter__(),
        lambda file: spawn_process(["true"], directory=Path("/"), log=file),
    ],
    ids=["append", "read", "lock", "log"],
)
def test_other_than_a_plain_file_is_refused(
    put: Callable[[Path, Path], None], use: Callable[[Path], object], target: Path, tmp_path: Path
) -> None:
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    put(file, target)
    with pytest.raises(ServerError, match="cannot be used") as caught, explaining_os_errors(file):
        use(file)
    assert "file" in str(caught.value)
    assert target.read_text() == "before"


@pytest.mark.parametrize("put", [_link, _hard_link, _fifo])
def test_a_written_file_replaces_what_is_in_its_place(
    put: Callable[[Path, Path], None], target: Path, tmp_path: Path
) -> None:
    file = tmp_path / "passfile"
    put(file, target)
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    write_file(file, "secret", owner=owner)
    assert file.read_text() == "secret"
    found = file.lstat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert stat.S_ISREG(found.st_mode)
    assert found.st_uid == (os.geteuid() if owner is None else owner.pw_uid)
    assert target.read_text() == "before"
    assert (target.stat().st_uid, stat.S_IMODE(target.stat().st_mode)) == (os.geteuid(), 0o644)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["passfile", "target"]


def test_a_file_that_cannot_be_replaced_leaves_no_other(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_file(tmp_path / "file", "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: write_file(folder / "file", "text"),
        lambda folder: delete_file(folder / "kept"),
        lambda folder: read_file(folder / "kept"),
        lambda folder: create_folder(folder, owner=pwd.getpwuid(os.geteuid())),
    ],
    ids=["write", "delete", "read", "create"],
)
@pytest.mark.parametrize("put", [_link, _fifo])
def test_a_link_in_place_of_the_folder_is_refused(
    put: Callable[[Path, Path], None], use: Callable[[Path], object], tmp_path: Path
) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "folder"
    elsewhere.mkdir(mode=0o755)
    (elsewhere / "kept").write_text("before")
    before = elsewhere.stat()
    put(folder, elsewhere)
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        use(folder)
    assert [entry.name for entry in elsewhere.iterdir()] == ["kept"]
    assert elsewhere.stat().st_ctime_ns == before.st_ctime_ns


def test_a_link_is_deleted_itself(target: Path, tmp_path: Path) -> None:
    link = tmp_path / "postmaster.pid"
    link.symlink_to(target)
    delete_file(link)
    delete_file(link)
    assert not link.is_symlink()
    assert target.read_text() == "before"


def test_a_lock_file_that_was_deleted_meanwhile_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked_file(file, wait_seconds=0):
        with pytest.raises(TimeoutError), locked_file(file, wait_seconds=0):
            pass
        file.unlink()
        with locked_file(file, wait_seconds=0):
            assert file.exists()


@pytest.mark.parametrize("name", ["lock", "servers.json", "log"])
@pytest.mark.parametrize("put", [_link, _fifo])
def test_the_data_folder_changes_nothing_behind_a_link(
    put: Callable[[Path, Path], None], name: str, target: Path, tmp_path: Path
) -> None:
    folder = DataFolder(tmp_path / "shop")
    folder.path.mkdir()
    put(folder.path / name, target)
    with pytest.raises(ServerError) as caught, folder.locked() as saved:
        folder.write(saved)
    assert name in str(caught.value)
    assert target.read_text() == "before"


def test_the_saved_state_is_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    folder.write(SavedState())
    assert stat.S_IMODE(folder.file.stat().st_mode) == 0o600
    assert folder.read() == SavedState()
