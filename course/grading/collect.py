"""What was handed in: one submission for each notebook, or for each student's folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import GradingError

_NOTEBOOK = ".ipynb"
_LARGEST_MIB = 50


@dataclass(frozen=True)
class Submission:
    """A student, by the name of the file or folder, and the notebook; or why there is none."""

    student: str
    notebook: Path | None
    refusal: str = ""


def collect(folder: Path, project: str) -> list[Submission]:
    """Return the submissions in ``folder``, in the order of the students' names.

    Each entry is a student's: a notebook, or a folder with one notebook anywhere in it; among
    several, that called ``project`` counts. Files whose names begin with a dot are no submissions.

    Raises ``GradingError`` when the folder cannot be read, or when two entries name one student.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise GradingError(
            f"{folder} cannot be read ({(error.strerror or str(error)).lower()}): name the folder "
            "of submissions by SUBMISSIONS."
        ) from None
    found = [_submission(entry, project) for entry in entries if not entry.name.startswith(".")]
    names = [one.student for one in found]
    for name in names:
        if names.count(name) > 1:
            raise GradingError(
                f"{folder} has a notebook and a folder that are both called {name}: whose is "
                "which? Rename one."
            )
    return found


def content(notebook: Path) -> bytes:
    """Return what is in a submission's file. Raises ``GradingError`` where it is none, or huge."""
    try:
        # Not through a link: it could lead to any file that we may read, and the student may not.
        descriptor = os.open(notebook, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise GradingError(f"The file cannot be read ({cause}).") from None
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        os.close(descriptor)
        raise GradingError("What was handed in is no file.")
    with os.fdopen(descriptor, "rb") as file:
        if about.st_size > _LARGEST_MIB * 2**20:
            raise GradingError(f"The file is larger than {_LARGEST_MIB} MiB.")
        return file.read()


def text_of_file(notebook: Path) -> str:
    """Return the text of a submission's file. Raises ``GradingError`` where it is none."""
    try:
        return content(notebook).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise GradingError("The file is not text, so it is no notebook.") from None


def _submission(entry: os.DirEntry[str], project: str) -> Submission:
    if entry.is_symlink():
        return Submission(_name(entry.name), None, "What was handed in is a link, and no file.")
    if entry.is_dir():
        return _from_folder(Path(entry.path), project)
    if not entry.name.lower().endswith(_NOTEBOOK):
        return Submission(_name(entry.name), None, "What was handed in is no notebook.")
    return Submission(_name(entry.name[: -len(_NOTEBOOK)]), Path(entry.path))


def _from_folder(folder: Path, project: str) -> Submission:
    found = []
    for above, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(above) / name for name in files if name.lower().endswith(_NOTEBOOK)]
    named = [one for one in found if one.name == project] if len(found) > 1 else found
    student = _name(folder.name)
    if not found:
        return Submission(student, None, "There is no notebook in the folder that was handed in.")
    if len(named) != 1:
        return Submission(student, None, f"There are {len(found)} notebooks: which one is it?")
    return Submission(student, named[0])


def _name(text: str) -> str:
    """Return a name that can be shown anywhere: what is no character is a question mark."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(one if one.isprintable() else "?" for one in shown)
