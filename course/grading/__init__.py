"""The graded project: one source notebook, the students' version of it, and the grader.

::

    source ──► release        the students' notebook: no solutions, no hidden tests
       │
       └─────► submissions ──► processes ──► grade ──► gradebook, feedback
               (the notebook   (one          (all)
               to be graded)   submission)
                                   │
                running, the tests ┴ student ═ channels ═ student_process, the answers

``student_process`` runs in a ``sandbox``, and so do the submission's ``servers``. Plain values
(``wire``) and names of open stores (``handles``) pass between the tests and the answers.
"""
