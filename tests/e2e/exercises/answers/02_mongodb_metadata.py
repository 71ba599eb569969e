# index needs: fill, versions-fill, batch
# facet needs: fill, versions-fill, batch

# %% index: the field's name without its path
def make_index():
    db.productmetas.create_index([("category", 1), ("storage_gb", 1)])


# %% index: only the fields queried by equality
def make_index():
    db.productmetas.create_index("category")


# %% index: on another field of phones
def make_index():
    db.productmetas.create_index([("specifications.screen_inch", 1)])


# %% schema: strings instead of numbers
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


# %% schema: any number, not only integers
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


# %% schema: product_id is required, but of any type
def desk_schema():
    return {
        "bsonType": "object",
        "required": ["product_id", "legs"],
        "properties": {
            "legs": {"bsonType": ["int", "long"], "minimum": 1, "maximum": 8},
            "colour": {"enum": ["oak", "white", "black"]},
        },
    }


# %% schema: product_id is missing
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


# %% schema: no other field is allowed, not even _id
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


# %% schema: the maximum is exclusive
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


# %% schema: JSON Schema's type instead of bsonType
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


# %% migrate: one write per game
def migrate_games(games):
    changed = 0
    for game in games.find({"duration": {"$exists": True}}):
        minutes = int(game["duration"].removesuffix("min"))
        update = {"$set": {"minutes": minutes}, "$unset": {"duration": ""}}
        changed += games.update_one({"_id": game["_id"]}, update).modified_count
    return changed


# %% migrate: an empty bulk write if nothing is left to do
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


# %% migrate: the old field stays, so every call migrates again
def migrate_games(games):
    updates = [
        UpdateOne(
            {"_id": game["_id"]},
            {"$set": {"minutes": int(game["duration"].removesuffix("min"))}},
        )
        for game in games.find({"duration": {"$exists": True}})
    ]
    return games.bulk_write(updates).modified_count if updates else 0


# %% migrate: the minutes are still a string
def migrate_games(games):
    updates = [
        UpdateOne(
            {"_id": game["_id"]},
            {"$set": {"minutes": game["duration"].removesuffix("min")}, "$unset": {"duration": ""}},
        )
        for game in games.find({"duration": {"$exists": True}})
    ]
    return games.bulk_write(updates).modified_count if updates else 0


# %% migrate: counts the games read, not those changed
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


# %% facet: counts products that are not books
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


# %% facet: no bucket for long books
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {"$bucket": {"groupBy": "$specifications.pages", "boundaries": [0, 300, 600]}},
    ]


# %% facet: long books are in the default bucket
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


# %% facet: upper instead of lower bounds
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


# %% facet: a group per number of pages
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {"$group": {"_id": "$specifications.pages", "count": {"$sum": 1}}},
    ]


# %% facet: the counts have another name
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


# %% facet: a field path without $
def page_facet():
    return [
        {"$match": {"category": "book"}},
        {"$bucket": {"groupBy": "specifications.pages", "boundaries": [0, 300, 600, 100_000]}},
    ]
