"""The graded project: one source notebook, the students' version of it, and the grader.

::

    source ──► release ──► student_copy   what students get: no solutions, no hidden tests
       │
       └─────► incoming ──► submissions ──► processes ──► grade ──► outgoing
               (whose is    (the notebook   (one          (all)     (gradebook, feedback,
               which)       to be graded)   submission)             files for platforms)
                                                │
                             running, the tests ┴ student ═ channels ═ student_process, the answers

``student_process`` runs in a ``sandbox``, and so do the submission's ``servers``. Plain values
(``wire``) and names of open stores (``handles``) pass between the tests and the answers.
"""
