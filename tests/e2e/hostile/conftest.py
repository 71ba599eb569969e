"""The grader works on disk, as for an instructor."""

from tests.course.grading.conftest import folders_on_disk

__all__ = ["folders_on_disk"]
