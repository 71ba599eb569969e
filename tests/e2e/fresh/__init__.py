"""Test the README's two commands as on a new machine: ``python3 -m tests.e2e.fresh``.

This package uses only the standard library, since there is no environment yet when it starts.
"""
