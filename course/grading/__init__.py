"""The graded project: one source notebook, the students' version of it, and the grader.

::

    source ──► release        the students' notebook: no solutions, no hidden tests
       │
       └─────► submissions ──► running ──► processes ──► grade ──► gradebook, feedback
               (the notebook   (a kernel   (one          (all)
               to be graded)   in a        submission)
                               sandbox)

``kernel`` and ``confine`` run inside the sandbox, where the submission runs.
"""
