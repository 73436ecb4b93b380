"""Any problems, written in either form, are read back as they were."""

import shutil
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from mmadapter.scienceqa.layout import read_layout
from mmadapter.scienceqa.parquet import read_parquet

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
FILLED = TEXT.filter(str.strip)
UNKNOWN_OR_TEXT = st.none() | TEXT


@st.composite
def problem_fields(draw) -> dict:
    """What `Problem` is to hold; `picture` and `choice_pictures` are the bytes of its images."""
    choices = draw(st.lists(FILLED, min_size=1, max_size=5))
    return {
        "split": draw(st.sampled_from(["train", "val", "test"])),
        "question": draw(FILLED),
        "choices": tuple(choices),
        "answer": draw(st.integers(0, len(choices) - 1)),
        "grade": draw(st.none() | st.integers(1, 12)),
        "subject": draw(st.sampled_from([None, "natural science", "social science", "language science"])),
        "caption": draw(UNKNOWN_OR_TEXT),
        "picture": draw(st.none() | st.binary(min_size=1, max_size=9)),
        "choice_pictures": draw(st.lists(st.binary(max_size=9), max_size=len(choices))),
        **{
            name: draw(UNKNOWN_OR_TEXT)
            for name in ("hint", "topic", "category", "skill", "task", "lecture", "solution")
        },
    }


PROBLEMS = st.dictionaries(st.integers(1, 99999).map(str), problem_fields(), max_size=7)


def as_records(problems: dict[str, dict]) -> tuple[dict[str, dict], dict[str, bytes], dict[str, str]]:
    """Records, pictures and captions as the files hold them."""
    records, pictures, captions = {}, {}, {}
    for pid, fields in problems.items():
        stored = dict(fields)
        folder = f"{stored['split']}/{pid}"
        picture = stored.pop("picture")
        if picture is not None:
            pictures[f"{folder}/image.png"] = picture
        for index, content in enumerate(stored.pop("choice_pictures")):
            pictures[f"{folder}/choice_{index}.png"] = content
        if stored["caption"] is not None:
            captions[pid] = stored["caption"]
        del stored["caption"]
        grade = None if stored["grade"] is None else f"grade{stored['grade']}"
        image = None if picture is None else "image.png"
        records[pid] = stored | {"choices": list(stored["choices"]), "grade": grade, "image": image}
    return records, pictures, captions


def as_fields(problem) -> dict:
    fields = {name: getattr(problem, name) for name in problem.__slots__}
    image = fields.pop("image")
    fields["picture"] = None if image is None else image.read()
    fields["choice_pictures"] = [picture.read() for picture in fields.pop("choice_images")]
    return fields


SETTINGS = settings(max_examples=40, deadline=None)


@SETTINGS
@given(problems=PROBLEMS)
def test_layout(problems, tmp_path_factory, write_layout):
    records, pictures, captions = as_records(problems)
    folder = tmp_path_factory.mktemp("layout")
    data = read_layout(write_layout(folder, records, pictures=pictures, captions=captions))
    assert {pid: as_fields(problem) for pid, problem in data.problems.items()} == {
        pid: {"pid": pid} | fields for pid, fields in problems.items()
    }
    assert list(data.problems) == list(problems)
    for split in ("train", "val", "test"):
        assert [p.pid for p in data[split]] == [pid for pid, fields in problems.items() if fields["split"] == split]


@SETTINGS
@given(problems=PROBLEMS, shards=st.integers(1, 2))
def test_parquet_with_pids_equals_the_layout(problems, shards, tmp_path_factory, write_layout, write_parquet):
    records, pictures, captions = as_records(problems)
    written = write_layout(tmp_path_factory.mktemp("layout"), records, pictures=pictures, captions=captions)
    layout = read_layout(written)
    folder = write_parquet(tmp_path_factory.mktemp("hub"), records, pictures=pictures, shards=shards)
    shutil.copy(written / "pid_splits.json", folder)
    hub = read_parquet(folder)

    def comparable(problem):  # the hub keeps no captions and no pictures of options
        return as_fields(replace(problem, caption=None, choice_images=()))

    assert {pid: comparable(p) for pid, p in hub.problems.items()} == {
        pid: comparable(p) for pid, p in layout.problems.items()
    }
    assert dict(hub.splits) == {name: pids for name, pids in layout.splits.items() if pids}
