"""Read CSV files as spreadsheets and learning platforms write them; replace files atomically."""

from __future__ import annotations

import calendar
import codecs
import csv
import hashlib
import io
import os
import re
import time
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import GradingError

_SEPARATORS = ",;\t"
#: Spreadsheets run a cell that begins like this as a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_MONTHS = frozenset(name.casefold() for name in calendar.month_abbr if name)
_QUOTES = str.maketrans("\u2018\u2019`\u00b4", "''''")


@dataclass(frozen=True)
class Table:
    """The cells of a CSV file.

    ``rows`` holds each row by column, under its number in the spreadsheet. ``separator`` is the
    character between cells.
    """

    columns: tuple[str, ...]
    rows: dict[int, dict[str, str]]
    separator: str = ","


def read_table(place: Path) -> Table:
    """Read a CSV file in UTF-8, UTF-16 or Windows-1252, separated by commas, semicolons or tabs.

    Raises ``FileNotFoundError``, or ``GradingError`` if it cannot be read or has two columns of
    the same name.
    """
    try:
        text = _decoded(place.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise GradingError(f"{place} cannot be read ({error.strerror or error}).") from None
    first, _, rest = text.partition("\n")
    hinted = first.strip().casefold().startswith("sep=")  # Excel writes and reads this line
    separator = first.strip()[4:5] if hinted else ""
    header = rest.partition("\n")[0] if hinted else first
    separator = separator or max(_SEPARATORS, key=lambda char: len(_cells(header, char)))
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise GradingError(f"{place} is not a CSV file ({error}).") from None
    lines = lines[1:] if hinted else lines
    return _table(place, lines, separator, first_row=3 if hinted else 2)


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, str]], separator: str = ",") -> str:
    """Return rows as CSV text with a header; a row's missing columns are empty."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(
        file, columns, restval="", delimiter=separator, lineterminator="\n", extrasaction="ignore"
    )
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def replace_file(place: Path, data: bytes) -> None:
    """Replace a file atomically: after a crash it has either its old or its new content."""
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_name(f".{place.name}.new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(place)


def back_up(place: Path, folder: Path) -> None:
    """Copy a file into ``folder``, under a name with the time of its last change."""
    stamp = time.strftime("%Y-%m-%d-%H%M%S", time.gmtime(place.stat().st_mtime))
    copy = folder / f"{place.stem}-{stamp}{place.suffix}"
    data, number = place.read_bytes(), 2
    while copy.exists() and copy.read_bytes() != data:
        copy = copy.with_name(f"{place.stem}-{stamp}-{number}{place.suffix}")
        number += 1
    replace_file(copy, data)


def harmless(text: str) -> str:
    """Return a name with a quote before it if a spreadsheet would change or execute it.

    ``=A1`` is a formula, ``007`` becomes 7 and ``May 5`` a date. ``original`` reverses it.
    """
    word = text[:3].casefold()
    changed = text[:1].isdigit() or word in {"tru", "fal"}
    changed = changed or (word in _MONTHS and text[-1:].isdigit())
    return f"'{text}" if changed or text.startswith("'") else no_formula(text)


def no_formula(text: str) -> str:
    """Return ``text`` with a quote before it if a spreadsheet would execute it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def original(text: str) -> str:
    """Return the text that ``harmless`` was given."""
    return text.removeprefix("'")


def comparable(text: str) -> str:
    """Return ``text`` without the differences that spreadsheets and file systems make.

    These are letter case, Unicode normal form, kinds of quotes, white space and leading zeros.
    """
    plain = unicodedata.normalize("NFC", text).translate(_QUOTES).casefold()
    words = " ".join(plain.split()).strip("' ")
    return words.lstrip("0") or words


def safe_text(text: str, longest: int = 100) -> str:
    """Return a name that can be printed anywhere: normalized, at most ``longest`` characters.

    Unprintable characters and lone surrogates become question marks.
    """
    shown = unicodedata.normalize("NFC", text).encode("utf-8", "replace").decode("utf-8")
    shown = "".join(char if char.isprintable() else "?" for char in shown).strip()
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"


def file_name(student: str) -> str:
    """Return a student's name as a file name, distinct for distinct students."""
    plain = re.sub(r'[/\\:*?"<>|]', "_", student).strip(". ")[:80]
    if plain == student:
        return plain
    return f"{plain}-{hashlib.sha256(student.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # Excel's plain "CSV" on Windows
        return data.decode("cp1252", "replace")


def _cells(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator, strict=False), [])


def _table(place: Path, lines: list[list[str]], separator: str, *, first_row: int) -> Table:
    header = [cell.strip() for cell in lines[0]] if lines else []
    width = max(map(len, lines), default=0)
    used = {n for line in lines for n, cell in enumerate(line) if cell.strip()}
    # A column without a name is kept if it has content.
    names = [
        (header[n] if n < len(header) else "") or (f"column {n + 1}" if n in used else "")
        for n in range(width)
    ]
    for name in filter(None, names):
        if names.count(name) > 1:
            raise GradingError(f"{place} has two columns called {name!r}: rename one.")
    rows = {
        number: {name: cell for name, cell in zip(names, line, strict=False) if name}
        for number, line in enumerate(lines[1:], start=first_row)
        if any(cell.strip() for cell in line)
    }
    return Table(tuple(filter(None, names)), rows, separator)
