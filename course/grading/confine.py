"""Give up what a submission must not have, then become the program that runs it.

Run as ``python -m course.grading.confine MEMORY_MIB WRITABLE READABLE… -- PROGRAM …``: the folder
``WRITABLE`` is the only one that the program, and all that it starts, can write in; beside the
system's own it can read only those named. On Linux the kernel sees to that (Landlock, from 5.13
on; from 6.12 on it also keeps the program from signalling others). Elsewhere there is only what
the file system's permissions forbid: the account that the program runs as.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

_MIB = 2**20
# Beside what is touched, a process maps libraries, stacks and arenas that it hardly uses.
_UNTOUCHED_MIB = 4096
_LARGEST_FILE_MIB = 1024
_MOST_PROCESSES = 1000  # threads among them: three stores, their clients, and what a notebook tries

#: How the names of the accounts begin that submissions run as, where the grader is root.
ACCOUNTS = "course_grader_"

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/shm")  # noqa: S108

# From linux/landlock.h. The numbers are the same on every architecture of Linux.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES, _CHILD_SUBREAPER = 38, 36
_READ = 0b1101  # execute, read a file, read a folder
_FILE_ONLY = 0b111 | 1 << 14 | 1 << 15  # what can be allowed on something that is no folder
# How many rights each version knows: the first 13; moving between folders; truncating; ioctl.
_RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16)
_SIGNALS_FROM_VERSION, _SIGNALS = 6, 1 << 1


def landlock_version() -> int:
    """Return which version of Landlock the kernel has; 0 where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, _system_call(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))


def confine(writable: Path, readable: Sequence[Path]) -> bool:
    """Let this process write below ``writable`` alone; return whether the kernel can do that.

    It can read there, below each of ``readable``, and what belongs to the system. That cannot be
    undone, and holds for all that the process starts.
    """
    version = landlock_version()
    if version == 0:
        return False
    rights = (1 << _RIGHTS_BY_VERSION[min(version, len(_RIGHTS_BY_VERSION) - 1)]) - 1
    signals = _SIGNALS if version >= _SIGNALS_FROM_VERSION else 0
    asked = (ctypes.c_uint64 * 3)(rights, 0, signals)
    size = 24 if signals else 8
    ruleset = _system_call(_CREATE_RULESET, ctypes.byref(asked), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    for place in (*map(Path, _SYSTEM), *readable):
        _allow(ruleset, place, rights & _READ)
    for place in (*map(Path, _DEVICES), writable):
        _allow(ruleset, place, rights)
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return _system_call(_RESTRICT_SELF, ruleset, 0) == 0


def become_subreaper() -> None:
    """Have what our processes leave behind become ours, so that none of it is lost from sight.

    Only Linux can do that; elsewhere, nothing happens.
    """
    if sys.platform.startswith("linux"):
        _LIBC.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit(memory_mib: int) -> None:
    """Limit what this process, and each that it starts, may map and write; be the first to go."""
    _set_limit(resource.RLIMIT_AS, (memory_mib + _UNTOUCHED_MIB) * _MIB)
    _set_limit(resource.RLIMIT_FSIZE, _LARGEST_FILE_MIB * _MIB)
    _set_limit(resource.RLIMIT_CORE, 0)
    if pwd.getpwuid(os.getuid()).pw_name.startswith(ACCOUNTS):
        # Counted for the account, so it can be limited where that does nothing else.
        _set_limit(resource.RLIMIT_NPROC, _MOST_PROCESSES)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _set_limit(what: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # macOS knows some of them by name only
        resource.setrlimit(what, (value, value))


def _allow(ruleset: int, place: Path, rights: int) -> None:
    """Allow ``rights`` below ``place``; where there is no such place, nothing is allowed."""
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not place.is_dir():
        rights &= _FILE_ONLY
    # Packed, as the kernel has it: eight bytes of rights, four of the descriptor.
    rule = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
    _system_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    os.close(descriptor)


def _system_call(number: int, *arguments: object) -> int:
    return int(_LIBC.syscall(ctypes.c_long(number), *arguments))


_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Confine this process, and become the program that is named behind ``--``."""
    own, program = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    memory_mib, writable, *readable = own
    limit(int(memory_mib))
    confine(Path(writable), [Path(place) for place in readable])
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
