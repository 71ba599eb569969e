# index needs: fill, versions-fill, batch
# facet needs: fill, versions-fill, batch

# %% index: the field's name without the path to it
def make_index():
    db.productmetas.create_index([("category", 1), ("storage_gb", 1)])


# %% index: only what is asked for by equality
def make_index():
    db.productmetas.create_index("category")


# %% index: of another field that phones have
def make_index():
    db.productmetas.create_index([("specifications.screen_inch", 1)])


# %% schema: texts for what must be numbers
def desk_schema():
    return {
        "bsonType": "object",
        "required": ["product_id", "legs"],
        "properties": {
            "product_id": {"bsonType": "string"},
            "legs": {"bsonType": "string"},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: any number, whole or not
def desk_schema():
    return {
        "bsonType": "object",
        "required": ["product_id", "legs"],
        "properties": {
            "product_id": {"bsonType": "number"},
            "legs": {"bsonType": "number", "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: nothing is required
def desk_schema():
    whole = ["int", "long"]
    return {
        "bsonType": "object",
        "properties": {
            "product_id": {"bsonType": whole},
            "legs": {"bsonType": whole, "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: product_id is required, and may be anything
def desk_schema():
    return {
        "bsonType": "object",
        "required": ["product_id", "legs"],
        "properties": {
            "legs": {"bsonType": ["int", "long"], "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: product_id is forgotten
def desk_schema():
    return {
        "bsonType": "object",
        "required": ["legs"],
        "properties": {
            "legs": {"bsonType": ["int", "long"], "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: the colour is required
def desk_schema():
    whole = ["int", "long"]
    return {
        "bsonType": "object",
        "required": ["product_id", "legs", "colour"],
        "properties": {
            "product_id": {"bsonType": whole},
            "legs": {"bsonType": whole, "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: nothing else is allowed, not even the _id
def desk_schema():
    whole = ["int", "long"]
    return {
        "bsonType": "object",
        "required": ["product_id", "legs"],
        "additionalProperties": False,
        "properties": {
            "product_id": {"bsonType": whole},
            "legs": {"bsonType": whole, "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: eight legs are one too many, since the limit is taken for exclusive
def desk_schema():
    whole = ["int", "long"]
    return {
        "bsonType": "object",
        "required": ["product_id", "legs"],
        "properties": {
            "product_id": {"bsonType": whole},
            "legs": {"bsonType": whole, "minimum": 1, "maximum": 8, "exclusiveMaximum": True},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: JSON Schema's type where MongoDB has bsonType
def desk_schema():
    return {
        "type": "object",
        "required": ["product_id", "legs"],
        "properties": {
            "product_id": {"type": "integer"},
            "legs": {"type": "integer", "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% migrate: a write for each game
def migrate_games(games):
    changed = 0
    for game in games.find({"duration": {"$exists": True}}):
        minutes = int(game["duration"].removesuffix("min"))
        update = {"$set": {"minutes": minutes}, "$unset": {"duration": ""}}
        changed += games.update_one({"_id": game["_id"]}, update).modified_count
    return changed


# %% migrate: an empty bulk write, when there is nothing left to do
def migrate_games(games):
    updates = [
        UpdateOne(
            {"_id": game["_id"]},
            {
                "$set": {"minutes": int(game["duration"].removesuffix("min"))},
                "$unset": {"duration": ""},
            },
        )
        for game in games.find({"duration": {"$exists": True}})
    ]
    return games.bulk_write(updates).modified_count


# %% migrate: the old field stays, and every call begins anew
def migrate_games(games):
    updates = [
        UpdateOne(
            {"_id": game["_id"]},
            {"$set": {"minutes": int(game["duration"].removesuffix("min"))}},
        )
        for game in games.find({"duration": {"$exists": True}})
    ]
    return games.bulk_write(updates).modified_count if updates else 0


# %% migrate: the minutes are still a text
def migrate_games(games):
    updates = [
        UpdateOne(
            {"_id": game["_id"]},
            {"$set": {"minutes": game["duration"].removesuffix("min")}, "$unset": {"duration": ""}},
        )
        for game in games.find({"duration": {"$exists": True}})
    ]
    return games.bulk_write(updates).modified_count if updates else 0


# %% migrate: the games that were looked at are counted, not those that changed
def migrate_games(games):
    seen = list(games.find())
    updates = [
        UpdateOne(
            {"_id": game["_id"]},
            {
                "$set": {"minutes": int(game["duration"].removesuffix("min"))},
                "$unset": {"duration": ""},
            },
        )
        for game in seen
        if "duration" in game
    ]
    if updates:
        games.bulk_write(updates)
    return len(seen)


# %% facet: products that are no books are counted too
def page_facet():
    return [
        {
            "$bucket": {
                "groupBy": "$specifications.pages",
                "boundaries": [0, 300, 600, 100_000],
                "default": "no book",
                "output": {"count": {"$sum": 1}},
            }
        },
    ]


# %% facet: no bucket for the long ones
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {"$bucket": {"groupBy": "$specifications.pages", "boundaries": [0, 300, 600]}},
    ]


# %% facet: the long ones are what is left over, under another name
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {
            "$bucket": {
                "groupBy": "$specifications.pages",
                "boundaries": [0, 300, 600],
                "default": "long",
                "output": {"count": {"$sum": 1}},
            }
        },
    ]


# %% facet: the upper bounds are given, as if a bucket were called by its end
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {
            "$bucket": {
                "groupBy": "$specifications.pages",
                "boundaries": [0, 299, 599, 100_000],
                "output": {"count": {"$sum": 1}},
            }
        },
    ]


# %% facet: a group for each number of pages
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {"$group": {"_id": "$specifications.pages", "count": {"$sum": 1}}},
    ]


# %% facet: the counts are called by another name
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {
            "$bucket": {
                "groupBy": "$specifications.pages",
                "boundaries": [0, 300, 600, 100_000],
                "output": {"books": {"$sum": 1}},
            }
        },
    ]


# %% facet: a field's name without its dollar
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {"$bucket": {"groupBy": "specifications.pages", "boundaries": [0, 300, 600, 100_000]}},
    ]
