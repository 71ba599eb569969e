"""Answers to the project's tasks: right ones of several kinds, and mistakes that people make.

Each module has those of one task: ``CORRECT`` and ``WRONG``, source by name. Most mistakes are the
notebook's own answer with something changed.
"""

from __future__ import annotations


def changed(source: str, *changes: tuple[str, str]) -> str:
    """Return ``source`` with texts replaced, wherever they stand; each must stand somewhere."""
    for old, new in changes:
        assert old in source, f"the answer has no {old!r} any more: change the bank with it"
        source = source.replace(old, new)
    return source
