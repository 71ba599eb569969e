"""The cost of a MongoDB query: its stage, its index, and how many documents it examined.

Read from ``explain`` with ``executionStats``, and only what MongoDB and the embedded server report
in the same way: names of outer stages (FETCH, SORT, PROJECTION_…) differ between versions, and the
embedded server ignores a limit here, so none is passed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.collection import Collection

from helpers.stores.connect import Document

# MongoDB's names of index lookups; 8.0 has EXPRESS stages for a single key.
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
    """How MongoDB runs a query.

    ``stage`` is COLLSCAN (it reads every document) or IXSCAN (it uses the index ``index``). The
    numbers are index keys and documents examined, and documents returned.
    """

    stage: str
    index: str | None
    keys_examined: int
    documents_examined: int
    returned: int

    @property
    def examined_per_returned(self) -> float:
        """Documents examined per document returned (per 1 if none was returned)."""
        return self.documents_examined / max(self.returned, 1)

    def row(self) -> dict[str, object]:
        """Return the plan as a row of a table."""
        return {
            "stage": self.stage,
            "index": self.index or "",
            "keys examined": self.keys_examined,
            "documents examined": self.documents_examined,
            "returned": self.returned,
        }


def explain_find(collection: Collection[Document], condition: Document) -> DocumentPlan:
    """Run ``collection.find(condition)`` with ``explain``, and return its plan.

    Raises ``pymongo.errors.OperationFailure`` if the condition is invalid.
    """
    output = collection.database.command(
        "explain", {"find": collection.name, "filter": condition}, verbosity="executionStats"
    )
    return read_explain(output)


def read_explain(output: Mapping[str, Any]) -> DocumentPlan:
    """Return the plan in the output of ``explain`` for a ``find``."""
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
    # A plan of the slot-based engine contains a classic plan, a plan of a sharded collection one
    # for each shard, and a union several inputs.
    inner = [node.get(name) for name in ("queryPlan", "inputStage", "outerStage", "innerStage")]
    inner += node.get("inputStages", [])
    inner += [shard.get("winningPlan") for shard in node.get("shards", [])]
    for child in inner:
        if child:
            yield from _walk(child)
