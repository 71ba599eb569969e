"""Show folders and zip files as one tree, in which nothing a student made can do harm.

Names inside archives are never used as paths, links are never followed, and everything is limited
in size. What is unusual becomes the ``problem`` of its place in the tree; the rest stays readable.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from course.grading.submissions import LARGEST_MIB, content
from helpers.errors import GradingError

_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_LINK = "The submission is a link, not a file."
_MOST_FILES = 100_000
_DEEPEST = 300
_DEEPEST_ZIP = 3
_ENTRY = b"PK\x01\x02"  # begins each entry of a zip file's directory


@dataclass
class Node:
    """A file or a folder; a zip file is a folder too.

    ``time`` is when it was changed, in seconds, 0 if unknown. ``path`` is its place on the disk, if
    it has one. ``problem`` says why it cannot be read. ``listed`` is its content, once listed.
    """

    name: str
    is_folder: bool = False
    time: float = 0.0
    path: Path | None = None
    problem: str = ""
    read: Callable[[], bytes] = field(default=bytes, repr=False)
    zip_depth: int = 0
    listed: dict[str, Node] | None = None

    @property
    def is_zip(self) -> bool:
        """Whether it is called like a zip file."""
        return not self.is_folder and self.name.lower().endswith(".zip")

    @property
    def stem(self) -> str:
        """The name without the suffix of a notebook or a zip file."""
        known = self.name.lower().endswith((".ipynb", ".zip")) and not self.is_folder
        return self.name.rpartition(".")[0] if known else self.name

    def children(self) -> list[Node]:
        """Return what is in a folder or a zip file, without junk, by name."""
        if self.listed is None:
            self.listed = {}
            try:
                if self.is_zip and not self.problem:
                    self.listed = _zip_children(self)
                elif self.is_folder and self.path is not None and not self.problem:
                    self.listed = _folder_children(self.path)
            except GradingError as error:
                self.problem = str(error)
        return [node for name, node in sorted(self.listed.items()) if not _is_junk(name)]

    def has(self, name: str) -> bool:
        """Return whether a folder contains ``name``, which may be junk."""
        self.children()
        return name in (self.listed or {})

    def files(self) -> Iterator[Node]:
        """Yield all files below, or the file itself. A problem is a file that cannot be read."""
        waiting = [(self, 0)]
        seen = 0
        while waiting:
            node, depth = waiting.pop()
            seen += 1
            if seen > _MOST_FILES or depth > _DEEPEST:
                what = f"{_MOST_FILES} files" if seen > _MOST_FILES else f"{_DEEPEST} levels"
                yield Node(self.name, problem=f"It has more than {what} of folders.")
                return
            waiting += ((child, depth + 1) for child in reversed(node.children()))
            if node.problem or not (node.is_folder or node.is_zip):
                yield node


def open_tree(place: Path) -> Node:
    """Return the tree of a folder or of a zip file.

    Raises ``GradingError`` if it is neither, or cannot be read.
    """
    node = Node(place.name, is_folder=not place.is_file(), path=place)
    if place.is_file():
        node.name = f"{place.stem}.zip"  # whatever its name: if it is no zip file, this says so
    node.children()
    if node.problem:
        raise GradingError(f"{place}: {node.problem} Name the submissions by SUBMISSIONS.")
    return node


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _folder_children(path: Path) -> dict[str, Node]:
    try:
        with os.scandir(path) as entries:
            return {entry.name: _on_disk(entry) for entry in entries}
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise GradingError(f"The folder cannot be read ({cause}).") from None


def _on_disk(entry: os.DirEntry[str]) -> Node:
    path = Path(entry.path)
    about = entry.stat(follow_symlinks=False)
    problem = ""
    if stat.S_ISLNK(about.st_mode):
        problem = _LINK
    elif not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
        problem = "The submission is not a regular file."
    is_folder = stat.S_ISDIR(about.st_mode)
    return Node(entry.name, is_folder, about.st_mtime, path, problem, lambda: content(path))


def _zip_children(node: Node) -> dict[str, Node]:
    """Return the content of a zip file as a tree. Raises ``GradingError`` if it is damaged."""
    if node.zip_depth >= _DEEPEST_ZIP:
        raise GradingError(f"{node.stem}: more than {_DEEPEST_ZIP} zip files in each other.")
    # A platform's export on the disk may be large; a zip file inside one is a student's.
    file = node.path.open("rb") if node.path is not None else io.BytesIO(node.read())
    with contextlib.ExitStack() as stack:
        stack.enter_context(file)
        chunks = iter(lambda: file.read(2**20), b"")
        if sum(chunk.count(_ENTRY) for chunk in chunks) > _MOST_FILES:
            raise GradingError(f"The zip file has more than {_MOST_FILES} files.")
        file.seek(0)
        try:
            infos = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise GradingError(f"{node.name} is not a zip file, or is damaged.") from None
    top: dict[str, Node] = {}
    for info in infos:
        parts = [part for part in info.filename.replace("\\", "/").split("/") if part.strip(".")]
        folder = top
        for part in parts if info.is_dir() else parts[:-1]:
            inside = folder.setdefault(part, Node(part, is_folder=True, listed={}))
            folder = inside.listed if inside.listed is not None else {}
        if parts and not info.is_dir():
            folder.setdefault(parts[-1], _zipped(node, info, parts[-1]))
    return top


def _zipped(outer: Node, info: zipfile.ZipInfo, name: str) -> Node:
    problem = ""
    if stat.S_ISLNK(info.external_attr >> 16):
        problem = _LINK
    elif info.flag_bits & 1:
        problem = "The zip file is encrypted."
    elif info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        problem = "The zip file is compressed in an unusual way: pack it again as an ordinary zip."
    when = 0.0
    with contextlib.suppress(ValueError, OverflowError):
        when = time.mktime((*info.date_time, 0, 0, -1))
    return Node(
        name,
        time=when,
        problem=problem,
        read=lambda: _unzipped(outer, info),
        zip_depth=outer.zip_depth + 1,
    )


def _unzipped(outer: Node, info: zipfile.ZipInfo) -> bytes:
    """Return a file of the zip file ``outer``. Raises ``GradingError``."""
    most = LARGEST_MIB * 2**20
    try:
        file = outer.path.open("rb") if outer.path is not None else io.BytesIO(outer.read())
        with file, zipfile.ZipFile(file) as archive, archive.open(info) as member:
            data = member.read(most + 1)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, ValueError):
        raise GradingError(f"{outer.name} is damaged.") from None
    if len(data) > most:
        raise GradingError(f"The file is larger than {LARGEST_MIB} MiB.")
    return data
