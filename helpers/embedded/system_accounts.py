"""System users to run programs as where we are root, which some refuse to be and none should."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
from pathlib import Path
from pwd import struct_passwd

from helpers.errors import ServerError


def account(name: str, *, why: str) -> struct_passwd | None:
    """Return the system user called ``name``; ``None`` when we are not root, and stay who we are.

    The user is created when it is first needed, without a login and without a home. Raises
    ``ServerError`` when it cannot be created; ``why`` begins its sentence.
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


def let_pass(folder: Path, user: struct_passwd) -> None:
    """Let ``user`` pass through the folders above ``folder`` (pass, not read), where it cannot.

    Only root comes here: what is below a home directory that is closed to others would otherwise
    be out of the user's reach.
    """
    for above in folder.parents:
        mode = above.stat()
        if mode.st_uid != user.pw_uid and not mode.st_mode & stat.S_IXOTH:
            with contextlib.suppress(PermissionError):
                above.chmod(stat.S_IMODE(mode.st_mode) | stat.S_IXOTH)
