"""The hub's tables: pids, shards, row groups, lazy pictures, and what is refused."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmadapter.errors import UserError
from mmadapter.scienceqa.parquet import parquet_files, read_parquet


@pytest.fixture
def records(record):
    """Eleven problems in three splits, every second one illustrated."""
    split_of = ["train"] * 7 + ["val"] + ["test"] * 3
    return {
        str(10 * n): record(question=f"Question {n}?", split=split, image="image.png" if n % 2 else None)
        for n, split in enumerate(split_of)
    }


@pytest.fixture
def pictures(records):
    return {f"{r['split']}/{pid}/image.png": pid.encode() for pid, r in records.items() if r["image"]}


def test_without_pids_rows_are_numbered_over_the_shards(tmp_path, records, pictures, write_parquet):
    data = read_parquet(write_parquet(tmp_path, records, pictures=pictures, shards=2))
    assert list(data.splits) == ["train", "val", "test"]
    assert data.splits["train"] == tuple(f"train-{row}" for row in range(7))
    assert [problem.question for problem in data] == [f"Question {n}?" for n in range(11)]


def test_pictures_of_all_row_groups_in_any_order(tmp_path, records, pictures, write_parquet):
    data = read_parquet(write_parquet(tmp_path, records, pictures=pictures, shards=2, row_group_size=2))
    shown = {p.pid: p.image.read() for p in reversed(list(data)) if p.has_image}
    assert sorted(shown.values()) == sorted(pictures.values())
    assert shown["train-5"] == b"50"
    assert data.problems["train-5"].image.where.endswith("parquet: row group 0, row 1")


def test_pids_come_from_the_split_file(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures)
    splits = {name: [p for p, r in records.items() if r["split"] == name] for name in ("train", "val", "test")}
    (folder / "pid_splits.json").write_text(json.dumps(splits | {"minitest": ["80"]}))
    data = read_parquet(folder)
    assert {pid: problem.question for pid, problem in data.problems.items()} == {
        pid: r["question"] for pid, r in records.items()
    }
    assert [problem.pid for problem in data["minitest"]] == ["80"]

    splits["val"] = []
    (folder / "pid_splits.json").write_text(json.dumps(splits))
    with pytest.raises(UserError, match=r"val has 1 rows, but pid_splits\.json lists 0 pids"):
        read_parquet(folder)


def test_tables_may_lie_in_the_folder_itself_and_be_some(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures) / "data"
    next(folder.glob("train-*")).unlink()
    next(folder.glob("validation-*")).rename(folder / "val.parquet")
    (folder / "predictions.parquet").write_bytes(b"not a split")
    data = read_parquet(folder)
    assert list(data.problems) == ["val-0", "test-0", "test-1", "test-2"]


def test_a_missing_shard(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures, shards=2)
    next((folder / "data").glob("train-00001*")).unlink()
    with pytest.raises(UserError, match="train has 1 parquet files, their names say 2"):
        parquet_files(folder)


def test_an_absent_column_is_unknown(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures)
    for file in (folder / "data").iterdir():
        pq.write_table(pq.read_table(file).drop_columns(["hint", "grade"]), file)
    data = read_parquet(folder)
    assert {(problem.hint, problem.grade, problem.topic) for problem in data} == {(None, None, "chemistry")}


def rewrite_test_table(folder, change):
    file = next((folder / "data").glob("test-*"))
    pq.write_table(change(pq.read_table(file)), file)
    return file


def test_a_required_column(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures)
    file = rewrite_test_table(folder, lambda table: table.drop_columns(["answer"]))
    with pytest.raises(UserError, match=f"{file}: no column answer"):
        read_parquet(folder, on_error="skip")


def test_an_image_column_of_another_type(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures)
    rewrite_test_table(folder, lambda table: table.set_column(0, "image", pa.array([b"", b"", b""])))
    with pytest.raises(UserError, match="column image is binary, must be struct<bytes, path>"):
        read_parquet(folder)


def test_a_wrong_row_is_named_and_skipped(tmp_path, records, pictures, write_parquet):
    records["90"]["answer"] = 3
    folder = write_parquet(tmp_path, records, pictures=pictures)
    with pytest.raises(UserError, match=r"test-.*: row group 0, row 1 \(pid test-1\): answer: is 3"):
        read_parquet(folder)
    data = read_parquet(folder, on_error="skip")
    assert data.splits["test"] == ("test-0", "test-2")
    assert [(skip.pid, skip.splits) for skip in data.skipped] == [("test-1", ("test",))]
    assert (data["test"].skipped, data["val"].skipped) == (data.skipped, ())


def test_a_picture_that_is_only_a_path(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures)
    cells = [None, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": None}]

    def change(table):
        return table.set_column(0, "image", pa.array(cells, type=table.schema.field("image").type))

    rewrite_test_table(folder, change)
    with pytest.raises(UserError, match=r"pid test-1\): image: has a path but no bytes"):
        read_parquet(folder)
    data = read_parquet(folder, on_error="skip")
    assert {p.pid: p.has_image for p in data["test"]} == {"test-0": False, "test-2": True}


def test_a_file_that_is_no_parquet(tmp_path, records, pictures, write_parquet):
    folder = write_parquet(tmp_path, records, pictures=pictures)
    image = next(problem.image for problem in read_parquet(folder)["test"] if problem.has_image)
    file = next((folder / "data").glob("test-*"))
    file.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match=f"{file}: not a readable parquet file"):
        read_parquet(folder)
    with pytest.raises(UserError, match=f"{file}: not a readable parquet file"):
        image.read()
