"""The original layout's own traps: splits, repeated pids, pictures and links."""

import json
import os
import shutil

import pytest

from mmadapter.errors import UserError
from mmadapter.scienceqa.layout import MAX_IMAGE_BYTES, read_layout


def both_ways(folder, message, *, left=("8",)):
    """Reading stops with `message`; skipping leaves `left` and counts one."""
    with pytest.raises(UserError, match=message):
        read_layout(folder)
    data = read_layout(folder, on_error="skip")
    assert tuple(data.problems) == left
    assert {pid for pids in data.splits.values() for pid in pids} == set(left)
    assert len(data.skipped) == 1


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["8"]}, r"pid 9: split: is train, but pid_splits\.json does not list it"),
        ({"train": ["8"], "test": ["9"]}, r"pid 9: split: is train, but pid_splits\.json lists it under test"),
    ],
)
def test_the_two_files_must_agree(splits, message, tmp_path, record, write_layout):
    both_ways(write_layout(tmp_path, {"8": record(), "9": record()}, splits=splits), message)


def test_a_listed_pid_must_exist(tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"8": record()}, splits={"train": ["8", "77"]})
    both_ways(folder, r"pid_splits\.json: train: pid 77: no such problem")


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": ["8", "8"]}, "train: pid 8: occurs more than once"),
        ({"train": ["8"], "test": ["8"]}, "test: pid 8: is in train too"),
    ],
)
def test_a_pid_has_one_place(splits, message, tmp_path, record, write_layout):
    both_ways(write_layout(tmp_path, {"8": record()}, splits=splits), message)


def test_a_repeated_pid_is_broken_altogether(tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"8": record(), "9": record()})
    text = json.dumps(record())
    (folder / "problems.json").write_text(f'{{"8": {text}, "9": {text}, "9": {text}}}')
    both_ways(folder, r"problems\.json: pid 9: occurs more than once")


def test_a_repeated_field_is_broken(tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"8": record(), "9": record()})
    text = json.dumps(record())
    (folder / "problems.json").write_text(f'{{"8": {text}, "9": {text[:-1]}, "answer": 0}}}}')
    both_ways(folder, "pid 9: answer: occurs more than once")


def test_a_problem_is_an_object(tmp_path, record, write_layout):
    both_ways(
        write_layout(tmp_path, {"8": record(), "9": record()} | {"9": "text"}, splits={"train": ["8", "9"]}),
        "pid 9: must be an object",
    )


@pytest.mark.parametrize("pids", [{"8": 1}, [8], "8", None])
def test_a_split_is_a_list_of_texts(pids, tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"8": record()}, splits={"train": pids})
    for on_error in ("stop", "skip"):
        with pytest.raises(UserError, match=r"pid_splits\.json: train: must be a list of pids"):
            read_layout(folder, on_error=on_error)


@pytest.mark.parametrize("missing", ["problems.json", "pid_splits.json"])
def test_both_files_are_needed(missing, tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"8": record()})
    (folder / missing).unlink()
    with pytest.raises(UserError, match=missing):
        read_layout(folder, on_error="skip")


def test_splits_keep_the_file_order_and_any_name(tmp_path, record, write_layout):
    records = {"1": record(), "2": record(), "3": record(split="test")}
    splits = {"train": ["2", "1"], "val": [], "test": ["3"], "mine": ["3", "2"]}
    data = read_layout(write_layout(tmp_path, records, splits=splits))
    assert [problem.pid for problem in data["train"]] == ["2", "1"]
    assert [problem.pid for problem in data["mine"]] == ["3", "2"]
    assert len(data["val"]) == 0
    with pytest.raises(UserError, match="no split 'minitest'; there are: train, val, test, mine"):
        data["minitest"]


def test_captions(tmp_path, record, write_layout):
    folder = write_layout(tmp_path, {"8": record(), "9": record()}, captions={"9": "A rock.", "77": "Else."})
    assert [problem.caption for problem in read_layout(folder)] == [None, "A rock."]
    (folder / "captions.json").write_text('{"9": "A rock."}')
    with pytest.raises(UserError, match=r"captions\.json: must hold"):
        read_layout(folder)
    (folder / "captions.json").write_text('{"captions": {"9": 9}}')
    with pytest.raises(UserError, match=r"captions\.json: pid 9: must be text, is a number"):
        read_layout(folder)


def test_choice_pictures_are_no_image(tmp_path, record, write_layout):
    pictures = {f"train/8/choice_{n}.png": bytes([n]) for n in (2, 0, 1)} | {"train/8/notes.txt": b""}
    problem = read_layout(write_layout(tmp_path, {"8": record()}, pictures=pictures)).problems["8"]
    assert problem.has_image is False
    assert [picture.read() for picture in problem.choice_images] == [b"\0", b"\1", b"\2"]


@pytest.fixture
def illustrated(tmp_path, record, write_layout):
    """Two problems with pictures, and a picture outside the folder."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "image.png").write_bytes(b"secret")
    records = {"8": record(image="image.png"), "9": record(image="image.png")}
    pictures = {"train/8/image.png": b"8", "train/9/image.png": b"9"}
    return write_layout(tmp_path / "data", records, pictures=pictures)


def test_a_named_picture_must_exist(illustrated):
    picture = illustrated / "images/train/9/image.png"
    picture.unlink()
    both_ways(illustrated, f"pid 9: image: there is no file {picture}")
    picture.parent.rmdir()
    both_ways(illustrated, f"pid 9: image: there is no file {picture}")
    shutil.rmtree(illustrated / "images")
    with pytest.raises(UserError, match="pid 8: image: there is no file"):
        read_layout(illustrated)


@pytest.mark.parametrize("name", ["../../../../outside/image.png", "/etc/hostname", "a\\b.png", "..", ""])
def test_a_picture_name_is_a_plain_file_name(name, tmp_path, illustrated, record, write_layout):
    records = {"8": record(image="image.png"), "9": record(image=name)}
    both_ways(write_layout(illustrated, records), "pid 9: image: is .* must be a plain file name")


def test_a_pid_does_not_lead_out(illustrated, record, write_layout):
    pid = "../../../outside"
    assert (illustrated / "images/train" / pid / "image.png").exists()
    records = {"8": record(image="image.png"), pid: record(image="image.png")}
    both_ways(write_layout(illustrated, records), "outside: image: there is no file")


def test_a_link_that_leads_out_is_refused(illustrated):
    picture = illustrated / "images/train/9/image.png"
    picture.unlink()
    picture.symlink_to(illustrated.parent / "outside/image.png")
    both_ways(illustrated, "pid 9: image: .* is not a file inside the data folder")
    shutil.rmtree(picture.parent)
    picture.parent.symlink_to(illustrated.parent / "outside")
    both_ways(illustrated, "pid 9: image: there is no file")


def test_a_folder_of_pictures_that_leads_out_is_refused(illustrated):
    (illustrated / "images").rename(illustrated.parent / "elsewhere")
    (illustrated / "images").symlink_to(illustrated.parent / "elsewhere")
    with pytest.raises(UserError, match="leads out of"):
        read_layout(illustrated)


def test_a_link_inside_the_folder_is_fine(illustrated):
    picture = illustrated / "images/train/9/image.png"
    picture.unlink()
    picture.symlink_to("../8/image.png")
    assert read_layout(illustrated).problems["9"].image.read() == b"8"


def test_a_picture_is_a_file(illustrated):
    picture = illustrated / "images/train/9/image.png"
    picture.unlink()
    picture.mkdir()
    both_ways(illustrated, "pid 9: image: .* is not a file")


def test_pictures_are_read_when_asked_for(illustrated):
    image = read_layout(illustrated).problems["9"].image
    assert image.where == str(illustrated / "images/train/9/image.png")
    image.path.write_bytes(b"later")
    assert image.read() == b"later"
    os.truncate(image.path, MAX_IMAGE_BYTES + 1)
    with pytest.raises(UserError, match=r"9/image\.png: has 67,108,865 bytes"):
        image.read()
    image.path.unlink()
    with pytest.raises(UserError, match=r"9/image\.png: cannot be read: No such file"):
        image.read()


def test_what_is_left_out_is_counted_in_the_splits_that_lack_it(tmp_path, record, write_layout):
    splits = {"train": ["1", "2"], "test": ["3", "4"], "minitest": ["3", "77"]}
    records = {"1": record(), "2": record(answer=9), "3": record(split="test", answer=9), "4": record(split="test")}
    data = read_layout(write_layout(tmp_path, {**records, "5": record(answer=9)}, splits=splits), on_error="skip")
    assert sorted(skip.pid for skip in data.skipped) == ["2", "3", "5", "77"]
    named = {split: sorted(skip.pid for skip in data[split].skipped) for split in splits}
    assert named == {"train": ["2", "5"], "test": ["3", "5"], "minitest": ["3", "5", "77"]}  # 5 is in no list
