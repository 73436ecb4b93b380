"""The baselines on the whole of ScienceQA's test split, where a machine has it: chance, and the numbers of the page."""

import pandas as pd
import pytest

from mmadapter.data import load_dataset
from mmadapter.evaluation.accuracy import question_classes
from mmadapter.evaluation.baselines import CHANCE, FREQUENT, NEAREST, PRIOR, baselines, credit_by_class
from mmadapter.evaluation.frame import question_frame
from mmadapter.evaluation.wordings import asked_classes, times_asked, wordings
from mmadapter.vision.pictures import question_pictures, read_pictures


@pytest.fixture(scope="module")
def whole(scienceqa_folders):
    """All training and test problems, from the folder that has them."""
    for folder in scienceqa_folders:
        data = load_dataset("scienceqa", folder)
        if (len(data["train"]), len(data["test"])) == (12726, 4241):
            return data
    pytest.skip("no folder holds the whole training and test splits")


@pytest.fixture(scope="module")
def frames(whole):
    return question_frame(whole["test"]), question_frame(whole["train"])


@pytest.fixture(scope="module")
def pictures(whole, tmp_path_factory):
    """Decoded, then read from the cache."""
    images, cache = question_pictures(whole["train"], whole["test"]), tmp_path_factory.mktemp("cache") / "pictures.npz"
    read_pictures(images, cache)
    return read_pictures(images, cache)


def test_chance_is_what_the_questions_offer(frames):
    asked, train = frames
    scores = credit_by_class(baselines(asked, train)[CHANCE], question_classes(asked))["accuracy"].round(2)
    assert scores[["Avg", "TXT", "IMG", "NO"]].to_dict() == {"Avg": 40.00, "TXT": 42.00, "IMG": 35.49, "NO": 44.14}


def test_wordings_of_the_test_split(frames):
    asked, train = frames
    told = wordings(asked)
    assert told.nunique() == 2336
    assert told[asked["has_image"]].nunique() == 724
    counts = [int(mask.sum()) for mask in asked_classes(asked, train).values()]
    assert counts == [1740, 760, 1741]


def test_baselines_are_as_documented(frames, pictures):
    asked, train = frames
    found = baselines(asked, train, pixels=pictures.grey)
    classes = question_classes(asked)
    classes["recurs"] = (asked["has_image"] & (times_asked(asked, train) > 0)).astype("boolean")
    scores = pd.DataFrame({name: credit_by_class(found[name], classes)["known_accuracy"] for name in found}).round(2)
    assert scores.loc["Avg"].to_dict() == {CHANCE: 40.00, FREQUENT: 47.62, PRIOR: 52.64, NEAREST: 59.77}
    assert scores.loc["IMG"].to_dict() == {CHANCE: 35.49, FREQUENT: 46.93, PRIOR: 59.55, NEAREST: 74.55}
    # Pillow's decoder may round otherwise in another version
    assert scores.loc["recurs", NEAREST] == pytest.approx(83.7, abs=0.3)
