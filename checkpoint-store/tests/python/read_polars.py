"""Reads every Parquet file of a fixture with polars."""

import pathlib
import sys

import polars

files = list(pathlib.Path(sys.argv[1]).rglob("*.parquet"))
assert files
for file in files:
    frame = polars.read_parquet(file)
    assert frame.columns == ["key_group", "key", "value"], frame.schema
    assert frame["key_group"].dtype == polars.UInt16
    assert frame["key"].null_count() == 0
print(f"{len(files)} files")
