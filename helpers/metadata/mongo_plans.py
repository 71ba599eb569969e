"""What a query costs MongoDB: by which stage, through which index, and how much it examined.

Read from ``explain`` with ``executionStats``. Only what MongoDB and the course's own document
server report alike: the outer stages (FETCH, SORT, PROJECTION_…) are named differently from
version to version, and the course's own server does not count a limit, so none is passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from helpers.stores.connect import Document

# MongoDB's names for a look-up through an index: 8.0 has a short way for a single key.
_INDEXED = {
    "IXSCAN": "",
    "EXPRESS_IXSCAN": "",
    "COUNT_SCAN": "",
    "DISTINCT_SCAN": "",
    "IDHACK": "_id_",
    "EXPRESS_CLUSTERED_IXSCAN": "_id_",
}
_SCANS = {*_INDEXED, "COLLSCAN", "EOF"}


@dataclass(frozen=True)
class DocumentPlan:
    """How MongoDB answers a query.

    ``stage`` is COLLSCAN (every document is read) or IXSCAN (an index leads to them; ``index`` is
    its name); the figures are what was examined, and what of it was returned.
    """

    stage: str
    index: str | None
    keys_examined: int
    documents_examined: int
    returned: int

    @property
    def examined_per_returned(self) -> float:
        """Documents examined for each one returned (for one, where none was)."""
        return self.documents_examined / max(self.returned, 1)

    def row(self) -> dict[str, object]:
        """Return the plan as a row of a small table."""
        return {
            "stage": self.stage,
            "index": self.index or "",
            "keys examined": self.keys_examined,
            "documents examined": self.documents_examined,
            "returned": self.returned,
        }


def explain_find(collection: Collection[Document], condition: Document) -> DocumentPlan:
    """Run ``collection.find(condition)`` under ``explain``, and return what it examined.

    Raises ``pymongo.errors.OperationFailure`` when the condition is wrong.
    """
    output = collection.database.command(
        "explain", {"find": collection.name, "filter": condition}, verbosity="executionStats"
    )
    return read_explain(output)


def read_explain(output: Mapping[str, Any]) -> DocumentPlan:
    """Read the output of ``explain`` for a ``find``, as MongoDB sends it."""
    winning = output["queryPlanner"]["winningPlan"]
    scans = [node for node in _walk(winning) if node["stage"] in _SCANS]
    indexed = [node for node in scans if node["stage"] in _INDEXED]
    stages = {"IXSCAN" if node["stage"] in _INDEXED else node["stage"] for node in scans}
    names = {node.get("indexName") or _INDEXED[node["stage"]] for node in indexed}
    statistics = output["executionStats"]
    return DocumentPlan(
        " + ".join(sorted(stages)) or winning.get("stage", "unknown"),
        " + ".join(sorted(names)) or None,
        statistics["totalKeysExamined"],
        statistics["totalDocsExamined"],
        statistics["nReturned"],
    )


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "stage" in node:
        yield node
    # The plan of the slot-based engine holds the classic one; that of a sharded collection, one
    # for each shard; a union, several inputs.
    inner = [node.get(name) for name in ("queryPlan", "inputStage", "outerStage", "innerStage")]
    inner += node.get("inputStages", [])
    inner += [shard.get("winningPlan") for shard in node.get("shards", [])]
    for one in inner:
        if one:
            yield from _walk(one)
