"""What docs/differences.md says about the document store, on either engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import bson
import pymongo
import pytest
from pymongo.database import Database
from pymongo.errors import OperationFailure

from helpers.shop.engines import mongo_engine
from helpers.stores import Stores

pytestmark = pytest.mark.servers

Db = Database[dict[str, Any]]


def _error(call: Callable[[], object]) -> int | None:
    """Return the code of the error that a call raises, or ``None`` if it succeeds."""
    try:
        call()
    except OperationFailure as error:
        return error.code
    return None


def _numbers(db: Db) -> pymongo.collection.Collection[dict[str, Any]]:
    """Return a collection of ten documents with an index on ``v``."""
    db.t.insert_many([{"_id": number, "v": number, "g": 1} for number in range(10)])
    db.t.create_index("v")
    return db.t


def _stages(cursor: Any) -> list[str]:
    plan = cursor.explain()["queryPlanner"]["winningPlan"]
    stages = []
    while plan:
        stages.append(plan["stage"])
        plan = plan.get("inputStage")
    return stages


def _index_for_a_part(db: Db) -> bool:
    return "IXSCAN" in _stages(_numbers(db).find({"v": 3, "g": 1}))


def _sorted_by_an_index(db: Db) -> bool:
    collection = _numbers(db)
    collection.create_index([("g", 1), ("v", 1)])
    return "SORT" not in _stages(collection.find({"g": 1}).sort("v", 1))


def _examined_with_a_limit(db: Db) -> int:
    found = _numbers(db).find({"v": {"$gte": 0}}).limit(3).explain()
    return int(found["executionStats"]["totalDocsExamined"])


def _examined_with_a_hint(db: Db) -> int:
    found = _numbers(db).find({"v": {"$gte": 0}, "g": 2}).hint("v_1").explain()
    return int(found["executionStats"]["totalDocsExamined"])


def _index_over_two_arrays(db: Db) -> int | None:
    db.t.create_index([("a", 1), ("b", 1)])
    return _error(lambda: db.t.insert_one({"a": [1, 2], "b": [1, 2]}))


def _nan_and_minimum(db: Db) -> int | None:
    db.create_collection("t", validator={"$jsonSchema": {"properties": {"p": {"minimum": 0}}}})
    return _error(lambda: db.t.insert_one({"p": float("nan")}))


def _hashed_index(db: Db) -> int | None:
    return _error(lambda: db.t.create_index([("v", "hashed")]))


def _text_index(db: Db) -> int | None:
    return _error(lambda: db.t.create_index([("v", "text")]))


def _where(db: Db) -> int | None:
    return _error(lambda: list(db.t.find({"$where": "true"})))


#: What is tried, the result on SecantusDB, and the result on MongoDB.
_RESULTS: dict[str, tuple[Callable[[Db], object], object, object]] = {
    "index for a part of the condition": (_index_for_a_part, False, True),
    "compound index as the order": (_sorted_by_an_index, False, True),
    "explain with a limit": (_examined_with_a_limit, 10, 3),
    "explain with a hint": (_examined_with_a_hint, 0, 10),
    "compound index over two arrays": (_index_over_two_arrays, None, 171),
    "NaN and minimum": (_nan_and_minimum, None, 121),
    "hashed index": (_hashed_index, 67, None),
    "text index": (_text_index, 67, None),
    "$where": (_where, 6108304, None),
}


@pytest.mark.parametrize(("tried", "secantus", "mongo"), _RESULTS.values(), ids=_RESULTS)
def test_a_result_is_the_documented_one(
    tried: Callable[[Db], object], secantus: object, mongo: object, stores: Stores
) -> None:
    stores.mongo.drop_collection("t")
    found = tried(stores.mongo)
    assert found == (secantus if mongo_engine(stores).name == "SecantusDB" else mongo)


def test_snapshot_sessions_are_not_pinned_but_transactions_are(stores: Stores) -> None:
    """A session with ``snapshot=True`` sees a later write on SecantusDB."""
    pinned = mongo_engine(stores).name != "SecantusDB"
    collection = stores.mongo.t
    collection.drop()
    collection.insert_one({})
    with stores.mongo.client.start_session(snapshot=True) as session:
        assert len(list(collection.find(session=session))) == 1
        collection.insert_one({})
        assert len(list(collection.find(session=session))) == (1 if pinned else 2)
    with stores.mongo.client.start_session() as session, session.start_transaction():
        assert collection.count_documents({}, session=session) == 2
        collection.insert_one({})
        assert collection.count_documents({}, session=session) == 2


def test_write_concerns_and_retried_writes_are_as_in_mongodb(stores: Stores) -> None:
    """A write concern that cannot be met is an error, and a repeated write is applied once."""
    collection = stores.mongo.t
    collection.drop()
    collection.insert_one({"_id": 1, "n": 0})
    two = collection.with_options(write_concern=pymongo.WriteConcern(w=2))
    assert _error(lambda: two.insert_one({})) == 100
    command = {
        "update": "t",
        "updates": [{"q": {"_id": 1}, "u": {"$inc": {"n": 1}}}],
        "lsid": {"id": bson.Binary(uuid.uuid4().bytes, bson.binary.UUID_SUBTYPE)},
        "txnNumber": bson.Int64(1),
    }
    assert [stores.mongo.command(command)["nModified"] for _ in range(2)] == [1, 1]
    assert collection.find_one({"_id": 1}) == {"_id": 1, "n": 1}
