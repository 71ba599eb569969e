"""The answer bank of the project: correct answers of several kinds, and typical mistakes.

Each module has the answers to one task: ``CORRECT`` and ``WRONG`` map names to sources. Most
mistakes are the notebook's solution with something changed.
"""

from __future__ import annotations


def changed(source: str, *changes: tuple[str, str]) -> str:
    """Return ``source`` with all occurrences of each old text replaced; each must occur."""
    for old, new in changes:
        assert old in source, f"the solution no longer contains {old!r}: change the bank with it"
        source = source.replace(old, new)
    return source
