"""The graded project: one source notebook, the students' version of it, and the grader.

::

    source ──► release ──► student_copy     what students get: no solutions, no hidden tests
       │
       └─────► incoming ──► submissions ──► running ──► processes ──► grade ──► outgoing
               (whose is    (the notebook   (a kernel   (one          (all)     (gradebook,
               which)       to be graded)   in a        submission)             feedback,
                                            sandbox)                            platforms)

``kernel`` and ``confine`` run inside the sandbox, where the submission runs.
"""
