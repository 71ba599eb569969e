"""The graded project: one source, the students' version of it, and the grader.

::

    source ──► release      the students' notebook: no solution, no hidden test
       │
       └─────► restore ──► running ──► one ──► grade ──► gradebook, feedback
               (a notebook  (a kernel   (a submission,   (all of them)
               as the       in a        with its
               source       sandbox)    points)
               wants it)

``kernel`` and ``confine`` run on the other side, where the submission does.
"""
