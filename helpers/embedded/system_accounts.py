"""System users for programs that this process starts as root but that must not run as root."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
from pathlib import Path
from pwd import struct_passwd

from helpers.errors import ServerError


def system_user(name: str, *, why: str) -> struct_passwd | None:
    """Return the system user ``name``, or ``None`` if this process does not run as root.

    The user is created if it does not exist, without a login and without a home directory. Raises
    ``ServerError`` if it cannot be created; ``why`` is the beginning of the message.
    """
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
    with contextlib.suppress(OSError):
        subprocess.run(command, capture_output=True, check=False)
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ServerError(
            f"{why}, and a system user for it could not be created (useradd failed): run this as "
            f"an ordinary user, or create the user {name}."
        ) from None


def allow_traversal(folder: Path, user: struct_passwd) -> None:
    """Let ``user`` pass through the folders above ``folder``, without reading them.

    To be called as root. Otherwise the user could not reach files below a private home directory.
    """
    for above in folder.parents:
        mode = above.stat()
        if mode.st_uid != user.pw_uid and not mode.st_mode & stat.S_IXOTH:
            with contextlib.suppress(PermissionError):
                above.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)
