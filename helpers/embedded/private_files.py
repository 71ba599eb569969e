"""Files and folders that only their owner may use, created and opened without following links.

As root, the course writes into a folder of PostgreSQL's system user. A program of that user
could replace a file there by a link, and root would overwrite the link's target or give it away.
So new files get their name only when they are complete, and existing files must be regular files
with a single name.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from pwd import struct_passwd

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
# Opening a FIFO does not wait for its other end.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK
_POLL_SECONDS = 0.05


def open_file(path: Path, flags: int) -> int:
    """Open a file and return its descriptor. With ``O_CREAT`` in ``flags``, create it if needed.

    Raises ``OSError`` if it is a link, has several names, or is not a regular file.
    """
    with _opened_folder(path.parent) as folder:
        descriptor = os.open(path.name, flags | _FILE, 0o600, dir_fd=folder)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return descriptor
    os.close(descriptor)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def read_file(path: Path) -> str:
    """Return the text of a file. Raises ``OSError`` as ``open_file`` does."""
    with os.fdopen(open_file(path, os.O_RDONLY), encoding="utf-8") as file:
        return file.read()


def write_file(
    path: Path, text: str, *, owner: struct_passwd | None = None, sync: bool = False
) -> None:
    """Replace a file atomically. Only its owner may read it: ``owner``, or this process's user.

    With ``sync``, it is on the disk when this returns. Raises ``OSError``.
    """
    with _opened_folder(path.parent) as folder:
        new = f".{path.name}.{secrets.token_hex(8)}"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                if owner is not None:
                    os.fchown(descriptor, owner.pw_uid, owner.pw_gid)
                if sync:
                    os.fsync(descriptor)
            os.replace(new, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise


def delete_file(path: Path) -> None:
    """Delete a file, or the link in its place, if it exists. Raises ``OSError``."""
    with contextlib.suppress(FileNotFoundError), _opened_folder(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def create_folder(path: Path, *, owner: struct_passwd | None = None) -> None:
    """Create a folder that only its owner may enter, unless it exists. Raises ``OSError``."""
    path.mkdir(mode=0o700, exist_ok=True)
    with _opened_folder(path) as folder:
        if owner is not None:
            os.fchown(folder, owner.pw_uid, owner.pw_gid)


@contextlib.contextmanager
def locked_file(path: Path, *, wait_seconds: float) -> Iterator[int]:
    """Hold an exclusive lock on a file, creating it if necessary, and yield its descriptor.

    The lock lasts until every process that has the descriptor has closed it or died.

    Raises ``TimeoutError`` if another process still holds it after ``wait_seconds``, and
    ``OSError`` as ``open_file`` does.
    """
    deadline = time.monotonic() + wait_seconds
    while (descriptor := _try_lock(path)) is None:
        if time.monotonic() >= deadline:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), str(path))
        time.sleep(_POLL_SECONDS)
    try:
        yield descriptor
    finally:
        os.close(descriptor)  # unlocking would also unlock it for processes that inherited it


def _try_lock(path: Path) -> int | None:
    """Return the descriptor of the locked file; ``None`` if another process holds the lock."""
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):  # deleted with its folder in the meantime
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


@contextlib.contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
