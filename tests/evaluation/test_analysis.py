"""The helpers of the error analysis against plain counting."""

import io
from collections import Counter, defaultdict

import pandas as pd
import pytest
from PIL import Image

from mmadapter.data import load_dataset
from mmadapter.errors import UserError
from mmadapter.evaluation.analysis import (
    accuracy_against,
    image_size,
    letter_confusions,
    option_confusions,
    question_length,
    template,
    template_seen,
    where_image_helps,
    worst,
)
from mmadapter.evaluation.frame import error_frame
from mmadapter.evaluation.predictions import predictions_frame
from tests.evaluation.questions import answers
from tests.scienceqa.conftest import raw_record, write_layout_folder


def predictions(data, right, seed=0):
    given = answers(data, right, seed)
    return predictions_frame(list(given), prediction=list(given.values()))


@pytest.fixture(scope="module")
def frame(data):
    return error_frame(predictions(data["test"], 0.6), data["test"])


def plain_wilson(correct, n, z=1.959963984540054):
    p, z2 = correct / n, z * z
    centre, spread = p + z2 / (2 * n), z * (p * (1 - p) / n + z2 / (4 * n * n)) ** 0.5
    return [100 * (centre + side * spread) / (1 + z2 / n) for side in (-1, 1)]


def test_worst_counts_every_group(frame):
    table = worst(frame, "grade", least=1)
    for grade, row in table.iterrows():
        group = frame[frame["grade"] == int(grade)]
        assert (row["n"], row["correct"]) == (len(group), sum(group["correct"]))
        assert row["accuracy"] == pytest.approx(100 * sum(group["correct"]) / len(group))
        assert row[["low", "high"]].tolist() == pytest.approx(plain_wilson(row["correct"], row["n"]))
    assert table["n"].sum() == len(frame)
    assert table["high"].is_monotonic_increasing


def test_worst_does_not_lose_small_groups_and_does_not_lead_with_them(frame):
    sizes = Counter(frame["grade"])
    least = sorted(sizes.values())[len(sizes) // 2]
    small = [grade for grade, n in sizes.items() if n < least]
    assert small
    table = worst(frame, "grade", least=least)
    assert table.index[-1] == f"{len(small)} others, each under {least}"
    assert table["n"].iloc[-1] == sum(sizes[grade] for grade in small)
    assert table["n"].sum() == len(frame)
    assert (table["n"].iloc[:-1] >= least).all()
    unknown = frame.assign(grade=frame["grade"].where(frame["grade"] != frame["grade"].iloc[0]))
    assert worst(unknown, "grade")["n"].sum() == len(frame) - sizes[frame["grade"].iloc[0]]
    with pytest.raises(UserError, match="no column 'grades' in this frame; there are: split"):
        worst(frame, "grades")


def test_letter_confusions_are_sklearns(frame):
    from sklearn.metrics import confusion_matrix

    half = frame.assign(prediction=frame["prediction"].mask(frame["grade"] > 8))
    table = letter_confusions(half)
    said = half["prediction"].fillna(5).astype(int)
    expected = confusion_matrix(half["answer"].astype(int), said, labels=range(6))[:5]
    assert table.to_numpy().tolist() == expected.tolist()
    assert list(table.index) == list("ABCDE")
    assert list(table.columns) == list("ABCDE-")


def test_option_confusions_count_offers_and_choices(frame):
    offers, confused = defaultdict(int), Counter()
    for _, row in frame.iterrows():
        right = row["choices"][row["answer"]]
        for place, choice in enumerate(row["choices"]):
            if place != row["answer"]:
                offers[right, choice] += 1
                confused[right, choice] += place == row["prediction"]
    table = option_confusions(frame, least=1)
    assert table["confused"].to_dict() == {pair: n for pair, n in confused.items() if n}
    for pair, row in table.iterrows():
        assert row["n"] == offers[pair]
        assert row[["low", "high"]].tolist() == pytest.approx(plain_wilson(confused[pair], offers[pair]))
    assert table["confused"].is_monotonic_decreasing
    assert option_confusions(frame, least=2)["confused"].tolist() == [n for n in table["confused"] if n >= 2]
    assert option_confusions(frame[frame["correct"]]).empty


def test_accuracy_against_few_values_and_many(frame):
    few = accuracy_against(frame, "n_choices")
    assert few["n"].to_dict() == dict(sorted(Counter(frame["n_choices"]).items()))
    many = accuracy_against(frame, pd.Series(range(len(frame)), index=frame.index, name="place"), bins=4)
    assert many["n"].tolist() == [14, 13, 13, 13]
    assert str(many.index[0]) == "(-1.0, 13.0]"
    parts = [frame["correct"].iloc[start:end].sum() for start, end in ((0, 14), (14, 27), (27, 40), (40, 53))]
    assert many["correct"].tolist() == parts
    assert [plain_wilson(row.correct, row.n) for row in many.itertuples()] == [
        pytest.approx([row.low, row.high]) for row in many.itertuples()
    ]


def test_accuracy_against_leaves_out_what_is_not_known(frame):
    known = accuracy_against(frame, frame["grade"].mask(frame["grade"] > 3))
    assert known["n"].sum() == (frame["grade"] <= 3).sum()
    with pytest.raises(UserError, match="prompt_tokens: known of none of the 53 questions"):
        accuracy_against(frame, "prompt_tokens")


def test_question_length_counts_words(frame):
    assert question_length(frame).tolist() == [len(question.split()) for question in frame["question"]]


def test_where_the_image_helps(data):
    test = data["test"]
    seeing = predictions_frame([p.pid for p in test], prediction=[p.answer for p in test])
    blind = predictions_frame(
        [p.pid for p in test],
        prediction=[p.answer if p.category == "Maps" else (p.answer + 1) % len(p.choices) for p in test],
    )
    frame = error_frame({"multimodal": seeing, "text": blind}, test)
    table = where_image_helps(frame, by="category")
    pictures = Counter(p.category for p in test if p.image)
    assert table.index.tolist() == ["Magnets", "Maps"]
    assert table["n"].to_dict() == pictures
    assert table["only_multimodal"].to_dict() == {"Magnets": pictures["Magnets"], "Maps": 0}
    assert table["difference"].to_dict() == {"Magnets": 100, "Maps": 0}
    assert table.loc["Magnets", "p"] == pytest.approx(2 * 0.5 ** pictures["Magnets"])
    with pytest.raises(UserError, match="two systems are compared; this error frame is of 1"):
        where_image_helps(error_frame(seeing, test))
    with pytest.raises(UserError, match="no column 'families'"):
        where_image_helps(frame, by="families")


@pytest.mark.parametrize(
    ("question", "masked"),
    [
        ("What is the capital of New Hampshire?", "what is the capital of @ ?"),
        ("What is the capital of  Maine ?", "what is the capital of @ ?"),
        (
            'Would you find the word "dash" on page 12, Tom?',
            'would you find the word "..." on page # , @ ?',
        ),
        ("What can Kevin and Rita trade?", "what can @ trade ?"),
        ("Identify what Tom's experiment, 1,234.5 m long, tests.", "identify what @ experiment , # m long , tests ."),
        ("Is a _Pinus sylvestris_ a plant?", "is a @ sylvestris a plant ?"),
        ("It is -5 degrees. Which is colder?", "it is # degrees . which is colder ?"),
        ("", ""),
    ],
)
def test_template(question, masked):
    assert template(question) == masked


def test_template_seen_and_image_size(tmp_path):
    def png(width, height):
        buffer = io.BytesIO()
        Image.new("RGB", (width, height)).save(buffer, "PNG")
        return buffer.getvalue()

    records = {
        "1": raw_record(split="train", question="What is the capital of Ohio?"),
        "2": raw_record(split="test", question="What is the capital of New York?", image="image.png"),
        "3": raw_record(split="test", question="Which is solid?", image="image.png"),
        "4": raw_record(split="test", question="Which is liquid?"),
    }
    pictures = {"test/2/image.png": png(300, 200), "test/3/image.png": b"no picture"}
    data = load_dataset("scienceqa", write_layout_folder(tmp_path, records, pictures=pictures))
    assert template_seen(data).to_dict() == {"2": True, "3": False, "4": False}
    sizes = image_size(data["test"])
    assert sizes["2"] == 60.0
    assert sizes[["3", "4"]].isna().all()
    assert sizes.dtype == "Float64"


def test_templates_of_the_real_questions(scienceqa_folders):
    """1,562 of the 2,017 image questions of the test split have a question text that occurs in training."""
    data = load_dataset("scienceqa", scienceqa_folders)
    if len(data["test"]) != 4241:
        pytest.skip("these folders do not hold the whole test split")
    seen = template_seen(data)
    texts = {problem.question for problem in data["train"]}
    pictured = [problem for problem in data["test"] if problem.has_image]
    assert sum(problem.question in texts for problem in pictured) == 1562
    assert all(seen[problem.pid] for problem in pictured if problem.question in texts)
    assert sum(bool(seen[problem.pid]) for problem in pictured) == 1765
