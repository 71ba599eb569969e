"""Collect submissions from a folder or a zip file, also as learning platforms export them.

=============  ==================================================================================
Moodle         A folder ``Full name_12345_assignsubmission_file`` per student, with an underscore
               at the end before 4.1, or files whose names begin like this
               (``mod/assign/feedback/file/importziplib.php`` reads the same names).
Canvas         A file ``lastfirst_12345_67890_name`` per upload, ``lastfirst_LATE_12345_…`` if late:
               the ids of the student and of the file (``lib/content_zipper.rb``).
Gradescope     Folders ``submission_12345``, and ``submission_metadata.yml``, which says whose.
Repositories   A clone per student, as ``gh classroom clone student-repos`` and Classroom 50's
               ``gh teacher download`` make them.
anything else  A notebook, a folder or a zip file per student, called like the student.
=============  ==================================================================================

Only the names at the top, which the platform gives, say whose a submission is; what students call
their files does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from course.grading.file_trees import Node, open_tree
from course.grading.source import Source, parse_notebook
from course.grading.submissions import restore
from course.grading.tables import file_name, replace_file, safe_text
from helpers.errors import GradingError

_MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?")
_CANVAS = re.compile(
    r"(?:(?P<name>.+?)_)??(?P<late>LATE_)?(?P<id>(?<=_)\d+|anon_[^\W_]+)_(?P<file>\d+)_.+"
)
_METADATA = "submission_metadata.yml"
#: What platforms and browsers add to the name of another version of a file.
_VERSION = re.compile(r"(?:[ _-]*(?:\(\d+\)|copy\d*|\d+))*$", re.IGNORECASE)
_MOST_COMPARED = 20
_LONGEST_NAME = 60
_ZIP_SECONDS = 2  # the precision of times in zip files


@dataclass(frozen=True)
class Submission:
    """A student, with the notebook or the reason for having none.

    ``notes`` are sentences about how it was handed in. ``feedback`` is the file name by which the
    platform knows whose feedback a page is, if it imports feedback. ``names`` are what else a
    roster may call the student: ids, an address, the full name.
    """

    student: str
    notebook: Path | None
    refusal: str = ""
    notes: tuple[str, ...] = ()
    feedback: str = ""
    names: tuple[str, ...] = ()


@dataclass
class _Handed:
    """What one student handed in, before a notebook is chosen."""

    student: str
    node: Node
    notes: list[str] = field(default_factory=list)
    feedback: str = ""
    names: tuple[str, ...] = ()
    is_known: bool = False  # by a platform's id, so that several are attempts of one student
    time: float | None = None  # instead of the files' times, which say nothing
    files: list[Node] = field(default_factory=list)


def collect(place: Path, source: Source, project: str, unpacked: Path) -> list[Submission]:
    """Return the submissions in the folder or zip file ``place``, sorted by the students' names.

    ``project`` is the name of the project's notebook; of several notebooks of a student, those
    with this name or else of this project count, and of these the latest. Notebooks in zip files
    are copied to ``unpacked``.

    Raises ``GradingError`` if ``place`` cannot be read.
    """
    top = _top(open_tree(place), project)
    by_student: dict[str, list[_Handed]] = {}
    for folder in top:
        for handed in _handed_in(folder):
            by_student.setdefault(handed.student, []).append(handed)
    found = [_merged(same) for same in by_student.values()]
    return [
        handed if isinstance(handed, Submission) else _chosen(handed, source, project, unpacked)
        for handed in sorted(found, key=lambda handed: handed.student)
    ]


def find_one(folder: Path, source: Source, project: str, unpacked: Path) -> Submission:
    """Return the submission of one student, which is all that is in ``folder``.

    Raises ``GradingError`` if the folder cannot be read.
    """
    node = open_tree(folder)
    return _chosen(_Handed("submission", node, files=[*node.files()]), source, project, unpacked)


def _top(root: Node, project: str) -> list[Node]:
    """Return the folders in which each entry is one student's: several if there are exports."""
    inside = [node for node in root.children() if not _is_list(node)]
    if _is_export(root) or not inside:
        return [root]
    if all(_is_export(node) for node in inside):
        return inside
    alone = inside[0] if len(inside) == 1 else None
    if alone is not None and alone.is_folder:
        below = [node for node in alone.children() if not _is_list(node)]
        is_work = any(node.name == project for node in below) or len(below) < 2
        if (below and all(map(_is_repository, below))) or (root.is_zip and not is_work):
            return [alone]
    return [root]


def _is_list(node: Node) -> bool:
    """Return whether a file at the top is a list that platforms add, such as ``scores.csv``."""
    is_work = _moodle(node.name) or _canvas([node.name])
    return not (node.is_folder or is_work) and node.name.lower().endswith((".csv", ".yml"))


def _is_export(node: Node) -> bool:
    if not (node.is_folder or node.is_zip):
        return False
    names = [child.name for child in node.children() if not _is_list(child)]
    if node.has(_METADATA):
        return True
    return bool(names) and (all(map(_moodle, names)) or len(_canvas(names)) == len(names))


def _is_repository(node: Node) -> bool:
    return node.is_folder and (node.has(".git") or node.has(".classroom50.yaml"))


def _moodle(name: str) -> re.Match[str] | None:
    return _MOODLE.fullmatch(name[:400])


def _canvas(names: Iterable[str]) -> dict[str, re.Match[str]]:
    """Return the names that Canvas made. It gives each file an id, so ids do not repeat."""
    found = {name: match for name in names if (match := _CANVAS.fullmatch(name[:400]))}
    ids = {match["file"] for match in found.values()}
    return found if len(ids) == len(found) else {}


def _handed_in(folder: Node) -> Iterator[_Handed]:
    nodes = [node for node in folder.children() if not _is_list(node)]
    canvas = _canvas(node.name for node in nodes)
    submitters = _submitters(folder)
    for node in nodes:
        if moodle := _moodle(node.name):
            name, number = safe_text(moodle["name"], _LONGEST_NAME), moodle["id"]
            own = node.name if node.is_folder else f"{name}_{number}_assignsubmission_file_"
            handed = _Handed(f"{name} ({number})", node, is_known=True, names=(number, name))
            handed.feedback = f"{own}/feedback.html"
            yield handed
        elif match := canvas.get(node.name):
            name, number = safe_text(match["name"] or "anonymous", _LONGEST_NAME), match["id"]
            handed = _Handed(f"{name} ({number})", node, is_known=True, names=(number, name))
            handed.notes = ["Canvas says that it is late."] if match["late"] else []
            handed.feedback = f"{node.name[: match.end('file')]}_feedback.html"
            handed.time = 10 * int(match["file"])  # grows with each upload
            yield handed
        elif node.name in submitters:
            for names, note in submitters[node.name]:
                label = safe_text(names[-1], _LONGEST_NAME)
                label += f" ({safe_text(names[0])})" if names[1:] else ""
                yield _Handed(label, node, [note], is_known=True, names=names)
        else:
            student = safe_text(node.stem) or "without a name"
            handed = _Handed(student, node, names=(student,))
            if _is_repository(node):
                handed.time = 0.0  # the files' times are when it was cloned
                handed.notes = _classroom_50_notes(node)
            yield handed


def _classroom_50_notes(repository: Node) -> list[str]:
    """Return when the work was submitted, from the result that ``gh teacher download`` adds."""
    file = next((node for node in repository.children() if node.name == "result.json"), None)
    try:
        found = json.loads(file.read())["datetime"] if file else ""
    except (GradingError, ValueError, TypeError, KeyError, RecursionError):
        return []
    is_time = isinstance(found, str) and re.fullmatch(r"[\d-]{10}T[\d:]{8}Z", found)
    return [f"Submitted {found}."] if is_time else []


def _submitters(folder: Node) -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """Return what Gradescope's metadata say: each submission's students, as names and a note.

    The names are the id and the address, as far as known, then the name. A group has several
    students. Raises ``GradingError`` if the metadata cannot be read.
    """
    file = next((node for node in folder.children() if node.name == _METADATA), None)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    try:
        entries: Any = yaml.load(file.read(), Loader=loader) if file else {}  # noqa: S506 - safe
        for key, entry in (entries or {}).items():
            note = f"Submitted {_moment(entry.get(':created_at'))}."
            for submitter in entry.get(":submitters") or []:
                said = [submitter.get(name) for name in (":sid", ":email", ":name")]
                names = tuple(str(name) for name in said if name)
                found.setdefault(str(key), []).append((names or (str(key),), note))
    except (yaml.YAMLError, AttributeError, TypeError, GradingError) as error:
        why = str(error).partition("\n")[0]
        raise GradingError(f"{_METADATA} of Gradescope's export cannot be read ({why}).") from None
    return found


def _moment(value: object) -> str:
    return value.isoformat(" ", "minutes") if isinstance(value, datetime) else str(value)


def _timed(handed: _Handed) -> Iterator[Node]:
    """Yield the files that a student handed in."""
    for file in handed.node.files():
        file.time = file.time if handed.time is None else handed.time
        yield file


def _merged(same: list[_Handed]) -> _Handed | Submission:
    """Return all attempts of one student; two entries that only share a name are refused."""
    first = same[0]
    if len(same) > 1 and not all(handed.is_known for handed in same):
        names = ", ".join(safe_text(handed.node.name) for handed in same)
        why = f"There are several submissions of this name ({names}): whose is which? Rename one."
        return Submission(first.student, None, why)
    first.files = [file for handed in same for file in _timed(handed)]
    first.notes = list(dict.fromkeys(note for handed in same for note in handed.notes))
    return first


def _chosen(handed: _Handed, source: Source, project: str, unpacked: Path) -> Submission:
    """Return the submission with the notebook that counts, on the disk."""

    def submission(notebook: Path | None, refusal: str = "", *notes: str) -> Submission:
        all_notes = (*handed.notes, *notes)
        return Submission(
            handed.student, notebook, refusal, all_notes, handed.feedback, handed.names
        )

    files = handed.files
    notebooks = [file for file in files if file.name.lower().endswith(".ipynb")]
    usable = [file for file in notebooks if not file.problem]
    if not usable:
        return submission(None, _no_notebook(handed, files))
    node, note = _best(usable, source, project)
    if node is None:
        return submission(None, note)
    if node.path is not None:
        return submission(node.path, "", *filter(None, [note]))
    try:
        copy = unpacked / f"{file_name(handed.student)}.ipynb"
        replace_file(copy, node.read())
    except GradingError as error:
        return submission(None, str(error))
    return submission(copy, "", *filter(None, [note]))


def _no_notebook(handed: _Handed, files: list[Node]) -> str:
    problems = [file.problem for file in files if file.problem]
    if problems:
        return problems[0]
    if not (handed.node.is_folder or handed.node.is_zip):
        return "The submission is not a notebook."
    names = [safe_text(file.name, 40) for file in files]
    more = f" and {len(names) - 3} more" if names[3:] else ""
    only = f" It has only {', '.join(names[:3])}{more}." if names else ""
    return f"There is no notebook in the submitted folder.{only}"


def _best(notebooks: list[Node], source: Source, project: str) -> tuple[Node | None, str]:
    """Return the notebook that counts and a note, or ``None`` and the reason.

    It is the latest of those called like the project, or else of those that are of the project.
    """
    if len(notebooks) == 1:
        return notebooks[0], ""
    wanted = _plain(project)
    found = [node for node in notebooks if wanted == _plain(node.name)]
    exact = [node for node in found if node.name == project]
    if not found:
        found = [node for node in notebooks[:_MOST_COMPARED] if _is_of(source, node)] or notebooks
    if len(found) == 1:
        return found[0], ""
    newest = sorted(found, key=lambda node: node.time, reverse=True)
    if newest[0].time > newest[1].time + _ZIP_SECONDS:
        name = safe_text(newest[0].name)
        return newest[0], f"Of {len(found)} notebooks, {name} counts: it is the latest."
    if len(exact) == 1:
        return exact[0], ""
    return None, f"There are {len(found)} notebooks: which one is it?"


def _plain(name: str) -> str:
    """Return a notebook's name in lower case, without suffix and version."""
    return _VERSION.sub("", name.lower().removesuffix(".ipynb").strip())


def _is_of(source: Source, node: Node) -> bool:
    try:
        restore(source, parse_notebook(node.read().decode("utf-8-sig")))
    except (GradingError, UnicodeDecodeError):
        return False
    return True
