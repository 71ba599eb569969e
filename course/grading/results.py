"""What grading a submission yields: a verdict for each test, points, and what went wrong.

The process that grades one submission returns a ``Result`` as JSON; the gradebook and the feedback
page are made from results alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from course.grading.source import Source

#: The beginning of the reason of a test that was not run at all.
NOT_RUN = "could not be run"


@dataclass(frozen=True)
class Verdict:
    """The outcome of one test, and the reason if it failed."""

    passed: bool
    why: str = ""


@dataclass(frozen=True)
class Result:
    """The outcome of grading one submission.

    ``verdicts`` holds the tests' outcomes by test name, ``failures`` the reason for each cell of
    the notebook that failed, ``texts`` the answers that are graded by hand, by cell name.
    ``events`` and ``notes`` are sentences about the run and about the submitted file. ``uncertain``
    says that a limit of time, or a store, failed something, which a busy machine may have caused.
    ``refusal`` is the reason if the notebook was not run. ``final`` is false if the grader itself
    failed, so that the submission must be graded again. Times are in seconds.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    refusal: str = ""
    final: bool = True
    uncertain: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def to_json(self) -> str:
        """Return the result as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Read what ``to_json`` returned. Raises ``ValueError`` for anything else."""
        try:
            fields = json.loads(text)
            verdicts = {
                name: Verdict(**verdict) for name, verdict in fields.pop("verdicts").items()
            }
            return cls(verdicts=verdicts, **fields)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(str(error)) from error


def points(source: Source, result: Result, task: str) -> float:
    """Return the points that the tests of ``task`` give a submission."""
    return sum(
        test.points
        for test in source.tests(task)
        if result.verdicts.get(test.key, Verdict(False)).passed
    )
