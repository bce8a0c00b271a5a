"""Reads the newest checkpoint of a fixture with pyarrow and DuckDB alone, by its manifest."""

import json
import pathlib
import sys
import zlib

import duckdb
import pyarrow.parquet as parquet

root = pathlib.Path(sys.argv[1])
manifests = sorted(root.glob("checkpoints/*/manifest.json"))
assert len(manifests) == 4, manifests
newest = manifests[-1]

document = newest.read_bytes()
first, rest = document.split(b"\n", 1)
assert first == b'{"crc32":"%08x",' % zlib.crc32(rest), "the checksum of the manifest"
manifest = json.loads(document)
assert manifest["format_version"] == 1

(operator,) = manifest["operators"]
state, kinds = {}, set()
for file in operator["chain"]:
    path = root / file["path"]
    assert path.stat().st_size == file["bytes"]
    assert zlib.crc32(path.read_bytes()) == int(file["crc32"], 16)
    table = parquet.read_table(path)
    assert table.schema.names == ["key_group", "key", "value"], table.schema
    assert table.num_rows == file["rows"]
    rows = table.to_pylist()
    keys = [(row["key_group"], row["key"]) for row in rows]
    assert keys == sorted(set(keys)), "sorted, each key once"
    start, end = file["groups"]["start"], file["groups"]["end"]
    for row in rows:
        if start <= row["key_group"] <= end:
            kinds.add(row["value"] is None)
            state[(file["state"], row["key"])] = row["value"]
    count = duckdb.sql(f"SELECT count(*), count(value) FROM '{path}'").fetchall()[0]
    assert count == (file["rows"], file["rows"] - file["tombstones"]), count

counts = {key: value for (name, key), value in state.items() if name == "count" and value}
expected = {n.to_bytes(2, "big"): f"3-{n}".encode() for n in range(20) if n != 3}
assert counts == expected, counts
assert kinds == {True, False}, "the chain has entries and deletions"

# The statistics let any tool skip what it does not want.
metadata = parquet.read_metadata(root / operator["chain"][0]["path"])
statistics = metadata.row_group(0).column(0).statistics
assert statistics.has_min_max and metadata.row_group(0).column(2).statistics is None
print(f"{len(state)} keys in {len(operator['chain'])} files")
