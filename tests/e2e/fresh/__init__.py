"""The README's two commands, tried as on a new machine: ``python3 -m tests.e2e.fresh``.

Nothing here may need more than Python itself: there is no environment yet when it begins.
"""
