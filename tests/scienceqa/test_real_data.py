"""The real development subset, where a machine has it: its README's table of counts, and every picture's head."""

import json

import pytest

from mmadapter.data import load_dataset

# problems, image, text only, hint, no hint, no context, natural / social / language / unknown subject, by
# (folder, split); the README counts unknown hints of scienceqa-img with "no hint", here they are apart
COUNTS = {
    ("scienceqa", "train"): (1041, 521, 520, 513, 528, 335, 584, 214, 243, 0),
    ("scienceqa", "val"): (371, 191, 180, 196, 175, 119, 222, 62, 87, 0),
    ("scienceqa", "test"): (361, 167, 194, 170, 191, 124, 186, 74, 101, 0),
    ("scienceqa-img", "train"): (5729, 5729, 0, 328, 5401 - 5208, 0, 329, 186, 6, 5208),
    ("scienceqa-img", "val"): (500, 500, 0, 279, 221 - 44, 0, 130, 57, 4, 309),
    ("scienceqa-img", "test"): (4241, 2017, 2224, 2046, 2195, 1435, 1294, 773, 144, 2030),
}
UNKNOWN_HINTS = {("scienceqa-img", "train"): 5208, ("scienceqa-img", "val"): 44}


@pytest.fixture(scope="module")
def loaded(scienceqa_folders):
    return {folder.name: load_dataset("scienceqa", folder) for folder in scienceqa_folders}


@pytest.mark.parametrize(("name", "split"), COUNTS)
def test_counts(name, split, loaded):
    if name not in loaded:
        pytest.skip(f"no folder {name}")
    frame = loaded[name][split].to_pandas()
    subjects = frame["subject"].value_counts(dropna=False)
    counted = (
        len(frame),
        frame["has_image"].sum(),
        (~frame["has_image"]).sum(),
        frame["has_text"].sum(),
        (~frame["has_text"]).sum(),
        (~frame["has_text"] & ~frame["has_image"]).sum(),
        *(subjects.get(f"{area} science", 0) for area in ("natural", "social", "language")),
        frame["subject"].isna().sum(),
    )
    assert counted == COUNTS[name, split]
    assert frame["has_text"].isna().sum() == UNKNOWN_HINTS.get((name, split), 0)


def test_several_folders_are_one(scienceqa_folders, loaded):
    """The first folder's problems, then what the others add; the same fields as the files hold."""
    joined = load_dataset("scienceqa", scienceqa_folders)
    seen = {}
    for folder in scienceqa_folders:
        for pid, raw in json.loads((folder / "problems.json").read_text(encoding="utf-8")).items():
            seen.setdefault(pid, (folder, raw))
    assert list(joined.problems) == list(seen)
    for pid, (folder, raw) in seen.items():
        problem = joined.problems[pid]
        assert (problem.question, list(problem.choices), problem.answer, problem.hint, problem.split) == (
            raw["question"],
            raw["choices"],
            raw["answer"],
            raw["hint"],
            raw["split"],
        )
        assert problem.has_image == (raw["image"] is not None)
        assert not problem.has_image or problem.image.path.is_relative_to(folder)
    for split, pids in joined.splits.items():
        assert len(set(pids)) == len(pids)
        assert set(pids) == {pid for data in loaded.values() for pid in data.splits[split]}
    assert not joined.skipped


def test_pictures_are_pictures(loaded):
    for data in loaded.values():
        shown = [problem for problem in data if problem.has_image]
        for problem in shown[:: max(1, len(shown) // 50)]:
            assert problem.image.read()[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
