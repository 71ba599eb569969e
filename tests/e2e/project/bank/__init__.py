"""The answer bank of the project: correct answers of several kinds, and typical mistakes.

Each module has the answers to one task: ``CORRECT`` and ``WRONG`` map names to sources. Most
mistakes are the notebook's solution with something changed. ``PARTIAL`` has the points that some of
the wrong answers must get, for what is right in them.
"""

from __future__ import annotations


def changed(source: str, *changes: tuple[str, str]) -> str:
    """Return ``source`` with all occurrences of each old text replaced; each must occur."""
    for old, new in changes:
        assert old in source, f"the solution no longer contains {old!r}: change the bank with it"
        source = source.replace(old, new)
    return source


def without(source: str, *functions: str) -> str:
    """Return ``source`` with these functions as in the stub of an answer."""
    stubs = (f"def {name}(*_):\n    raise NotImplementedError\n" for name in functions)
    return "\n\n".join([source, *stubs])
