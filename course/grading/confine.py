"""Restrict this process, then replace it with the program that runs a submission.

Run as ``python -m course.grading.confine MEMORY_MIB WRITABLE READABLE… -- PROGRAM …``. The program
and its children can write only below ``WRITABLE``, and read only there, below the ``READABLE``
folders and in the system's own. On Linux, Landlock enforces this (from 5.13 on; from 6.12 on it
also blocks signals to other processes). Elsewhere only file permissions apply.
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
# Address space on top of the memory limit, for libraries, stacks and arenas that are barely used.
_UNTOUCHED_MIB = 4096
_LARGEST_FILE_MIB = 1024
_MOST_PROCESSES = 1000  # includes threads: three stores, their clients, the notebook's own

#: The prefix of the accounts that submissions run as if the grader is root.
ACCOUNTS = "course_grader_"

_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/shm")  # noqa: S108

# From linux/landlock.h. The numbers are the same on every architecture of Linux.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES, _CHILD_SUBREAPER = 38, 36
_READ = 0b1101  # execute, read a file, read a folder
_FILE_ONLY = 0b111 | 1 << 14 | 1 << 15  # the rights that apply to files
# How many rights each version knows: the first 13; moving between folders; truncating; ioctl.
_RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16)
_SIGNALS_FROM_VERSION, _SIGNALS = 6, 1 << 1


def landlock_version() -> int:
    """Return the Landlock version of the kernel; 0 if it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    return max(0, _system_call(_CREATE_RULESET, None, ctypes.c_size_t(0), _ASK_VERSION))


def confine(writable: Path, readable: Sequence[Path]) -> bool:
    """Restrict this process and its children to writing below ``writable``.

    They can read there, below each of ``readable``, and the system's files. This cannot be undone.
    Returns whether the kernel supports it.
    """
    version = landlock_version()
    if version == 0:
        return False
    rights = (1 << _RIGHTS_BY_VERSION[min(version, len(_RIGHTS_BY_VERSION) - 1)]) - 1
    signals = _SIGNALS if version >= _SIGNALS_FROM_VERSION else 0
    requested = (ctypes.c_uint64 * 3)(rights, 0, signals)
    size = 24 if signals else 8
    ruleset = _system_call(_CREATE_RULESET, ctypes.byref(requested), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    for place in (*map(Path, _SYSTEM), *readable):
        _allow(ruleset, place, rights & _READ)
    for place in (*map(Path, _DEVICES), writable):
        _allow(ruleset, place, rights)
    _LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return _system_call(_RESTRICT_SELF, ruleset, 0) == 0


def become_subreaper() -> None:
    """Become the parent of orphaned descendants, so that none is lost from sight.

    Does nothing except on Linux.
    """
    if sys.platform.startswith("linux"):
        _LIBC.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def limit(memory_mib: int) -> None:
    """Limit the memory and file size of this process and its children; be killed first."""
    _set_limit(resource.RLIMIT_AS, (memory_mib + _UNTOUCHED_MIB) * _MIB)
    _set_limit(resource.RLIMIT_FSIZE, _LARGEST_FILE_MIB * _MIB)
    _set_limit(resource.RLIMIT_CORE, 0)
    if pwd.getpwuid(os.getuid()).pw_name.startswith(ACCOUNTS):
        # The limit counts the account's processes, so set it only for accounts of ours.
        _set_limit(resource.RLIMIT_NPROC, _MOST_PROCESSES)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _set_limit(what: int, value: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # macOS does not implement all of them
        resource.setrlimit(what, (value, value))


def _allow(ruleset: int, place: Path, rights: int) -> None:
    """Allow ``rights`` below ``place``, if it exists."""
    try:
        descriptor = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not place.is_dir():
        rights &= _FILE_ONLY
    # The kernel's packed struct: eight bytes of rights, four of the descriptor.
    rule = rights.to_bytes(8, sys.byteorder) + descriptor.to_bytes(4, sys.byteorder)
    _system_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    os.close(descriptor)


def _system_call(number: int, *arguments: object) -> int:
    return int(_LIBC.syscall(ctypes.c_long(number), *arguments))


_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Restrict this process, then execute the program named after ``--``."""
    own, program = sys.argv[1 : sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1 :]
    memory_mib, writable, *readable = own
    limit(int(memory_mib))
    confine(Path(writable), [Path(place) for place in readable])
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
