"""Writing small ScienceQA folders, in both of its forms, without the code that reads them."""

import json
from pathlib import Path

import pytest

SPLITS = ("train", "val", "test")


def raw_record(**changes) -> dict:
    """One problem as `problems.json` holds it, the 14 fields complete."""
    record = {
        "question": "Which is solid?",
        "choices": ["water", "a rock", "air"],
        "answer": 1,
        "hint": "",
        "image": None,
        "task": "closed choice",
        "grade": "grade7",
        "subject": "natural science",
        "topic": "chemistry",
        "category": "Matter",
        "skill": "Identify solids",
        "lecture": "",
        "solution": "A rock keeps its shape.",
        "split": "train",
    }
    return record | changes


def write_layout_folder(
    folder: Path,
    records: dict[str, dict],
    *,
    pictures: dict[str, bytes] | None = None,
    splits: dict[str, list[str]] | None = None,
    captions: dict[str, str] | None = None,
) -> Path:
    """`pictures` maps paths below images/ to bytes; `splits` are, if not given, those of the records."""
    if splits is None:
        splits = {name: [pid for pid, r in records.items() if r["split"] == name] for name in SPLITS}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problems.json").write_text(json.dumps(records), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps(splits), encoding="utf-8")
    if captions is not None:
        (folder / "captions.json").write_text(json.dumps({"captions": captions}), encoding="utf-8")
    for name, content in (pictures or {}).items():
        file = folder / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def write_parquet_folder(
    folder: Path,
    records: dict[str, dict],
    *,
    pictures: dict[str, bytes] | None = None,
    shards: int = 1,
    row_group_size: int = 3,
) -> Path:
    """The schema of derek-thomas/ScienceQA: no pid, no split, answer int8, the picture in its cell."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    text_columns = ["hint", "task", "grade", "subject", "topic", "category", "skill", "lecture", "solution"]
    schema = pa.schema(
        [("image", image_type), ("question", pa.string()), ("choices", pa.list_(pa.string()))]
        + [("answer", pa.int8())]
        + [(name, pa.string()) for name in text_columns]
    )
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, hub_split in zip(SPLITS, ("train", "validation", "test"), strict=True):
        rows = []
        for pid, record in records.items():
            if record["split"] == split:
                row = {name: record[name] for name in schema.names}
                if record["image"]:
                    content = (pictures or {})[f"{split}/{pid}/{record['image']}"]
                    row["image"] = {"bytes": content, "path": None}
                rows.append(row)
        size = -(-len(rows) // shards) or 1
        for shard in range(shards):
            table = pa.Table.from_pylist(rows[shard * size : (shard + 1) * size], schema=schema)
            file = folder / "data" / f"{hub_split}-{shard:05d}-of-{shards:05d}-0a1b2c3d.parquet"
            pq.write_table(table, file, row_group_size=row_group_size)
    return folder


@pytest.fixture(scope="session")
def record():
    return raw_record


@pytest.fixture(scope="session")
def write_layout():
    return write_layout_folder


@pytest.fixture(scope="session")
def write_parquet():
    return write_parquet_folder
