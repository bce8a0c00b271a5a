"""Queries typed exports with DuckDB: a profile is a struct with its map."""

import sys

import duckdb

directory = sys.argv[1]
rows = duckdb.sql(
    f"""
    SELECT key_text, value.name, value.events, value.interests['books'], value.last.variant,
           value.last.Bought.price
    FROM '{directory}/profile.parquet' WHERE value.events >= 2 ORDER BY value.events LIMIT 2
    """
).fetchall()


def scalar(value):
    return value[0] if isinstance(value, list) else value


rows = [tuple(map(scalar, row)) for row in rows]
assert rows == [
    ("u2", "user 2", 2, 1.0, "Rated", None),
    ("u3", "user 3", 3, 1.5, "Bought", -7),
], rows

tiers = duckdb.sql(
    f"SELECT value, count(*) FROM '{directory}/tier.parquet' GROUP BY 1 ORDER BY 1"
).fetchall()
assert tiers == [("Gold", 2), ("Silver", 6)], tiers

recent = duckdb.sql(f"SELECT sum(len(value)) FROM '{directory}/recent.parquet'").fetchall()[0]
assert recent == (16,), recent
print("typed columns are as they should be")
