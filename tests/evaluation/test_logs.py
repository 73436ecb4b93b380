"""Other harnesses' logs: what each entry says, and which question it answers."""

import json
import math
import zipfile
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from mmadapter.errors import UserError
from mmadapter.evaluation import logs
from mmadapter.evaluation.logs import Entry, sample_entry
from mmadapter.evaluation.matching import match
from mmadapter.evaluation.prediction_files import read_predictions

LETTERS = "ABCDE"


def questions(*rows):
    """Of (question, choices, answer, hint, has_image)."""
    index = pd.Index([str(number) for number in range(10, 10 + len(rows))], dtype="string", name="pid")
    frame = pd.DataFrame(rows, columns=["question", "choices", "answer", "hint", "has_image"], index=index)
    return frame.assign(n_choices=frame["choices"].map(len)).astype({"answer": "Int64", "question": "string"})


ASKED = questions(
    ("Which is red?", ["rose", "sky", "moss"], 0, "", False),
    ("Which is\n blue?", ["rose", "sky"], 1, "Look up.", False),
    ("Which is shown?", ["cat", "dog"], 0, "", True),
    ("Which is shown?", ["dog", "cat"], 0, "", True),
    ("Which is green?", ["moss", "sky"], 0, "A", False),
    ("Which is green?", ["moss", "sky"], 0, "B", False),
)


def lm_eval(number, likelihoods, **doc):
    """As lm-evaluation-harness 0.4 writes a line of a multiple choice task: numbers are texts."""
    pid = ASKED.index[number]
    words = ASKED.loc[pid]
    asked = {"question": words["question"], "choices": words["choices"], "hint": words["hint"]}
    return {
        "doc_id": number,
        "doc": asked | doc,
        "target": str(words["answer"]),
        "arguments": {"gen_args_0": {"arg_0": "prompt", "arg_1": " rose"}},
        "resps": [[[str(x), "False"]] for x in likelihoods],
        "filtered_resps": [[str(x), "False"] for x in likelihoods],
        "filter": "none",
        "metrics": ["acc"],
        "acc": 1.0,
    }


def lmms_eval(number, text, **doc):
    """As lmms-eval writes a line of its ScienceQA task: the document without its picture."""
    pid = ASKED.index[number]
    words = ASKED.loc[pid]
    asked = {
        "question": words["question"],
        "choices": words["choices"],
        "hint": words["hint"],
        "answer": words["answer"],
    }
    letter = LETTERS[words["answer"]]
    return {"doc_id": number, "doc": asked | doc, "target": letter, "resps": [[text]], "filtered_resps": [text]}


def jsonl(path, lines):
    path.write_text("".join(json.dumps(line, default=int) + "\n" for line in lines), encoding="utf-8")
    return path


def test_likelihoods_of_lm_evaluation_harness(tmp_path):
    file = jsonl(tmp_path / "samples_scienceqa.jsonl", [lm_eval(0, [-2.5, -0.5, -3.0]), lm_eval(1, [-1.0, -1.5])])
    read = read_predictions(file, ASKED, partial=True)
    assert read.frame["pid"].tolist() == ["10", "11"]
    assert read.frame["prediction"].tolist() == [1, 0]
    shares = np.exp([-2.5, -0.5, -3.0])
    assert read.frame["probabilities"][0] == pytest.approx(shares / shares.sum())
    assert (read.rule, read.notes) == ("likelihood", ())


def test_texts_of_lmms_eval_are_read_by_a_rule(tmp_path):
    file = jsonl(tmp_path / "s.jsonl", [lmms_eval(1, "B"), lmms_eval(0, "c"), lmms_eval(4, "moss")])
    read = read_predictions(file, ASKED, rule="lmms-eval", partial=True)
    found = (
        read.frame.set_index("pid")["prediction"]
        .astype(object)
        .where(read.frame.set_index("pid")["prediction"].notna(), None)
    )
    assert found.to_dict() == {"10": 2, "11": 1, "14": None}
    assert read.frame.set_index("pid")["output"]["14"] == "moss"


def test_a_log_with_ids_needs_no_words(tmp_path):
    line = lmms_eval(2, "A") | {"doc": {"pid": "12"}}
    assert read_predictions(jsonl(tmp_path / "s.jsonl", [line]), ASKED, partial=True).frame["pid"].tolist() == ["12"]


def test_the_same_words_are_told_apart_by_hint_and_by_order():
    entries = [sample_entry(lmms_eval(number, "A"), f"line {number}") for number in range(6)]
    frame, notes = match(entries, ASKED, "log")
    assert frame["pid"].tolist() == list(ASKED.index)
    assert notes == ()  # 12 and 13 have their options in another order each, and hints differ between 14 and 15


def test_pictures_are_told_apart_by_the_order_of_the_log():
    asked = questions(*[("Which is shown?", ["cat", "dog"], answer, "", True) for answer in (0, 1, 1)])
    entries = [
        Entry(where=str(i), question="Which is shown?", options=("cat", "dog"), hint="", target=t, text="A")
        for i, t in enumerate((0, 1, 1))
    ]
    frame, notes = match(entries, asked, "log")
    assert frame["pid"].tolist() == ["10", "11", "12"]
    assert notes == ("log: 3 answers were matched by their order among questions of the same words",)
    with pytest.raises(UserError, match=r"log: 2 of 3 entries name another right option .*: 1, 0"):
        match([entries[1], entries[0], entries[2]], asked, "log")
    with pytest.raises(UserError, match=r"log: 2 answers are to one of several questions of the same words"):
        match(entries[:2], asked, "log")


def test_a_log_of_pictures_alone_leaves_out_the_question_without_one():
    asked = questions(*[("Which?", ["cat", "dog"], 0, "", image) for image in (True, False, True)])
    entries = [Entry(where=str(i), question="Which?", options=("cat", "dog"), hint="", text="A") for i in range(2)]
    assert match(entries, asked, "log")[0]["pid"].tolist() == ["10", "12"]


def test_options_in_another_order_are_mapped_where_that_is_sure():
    turned = {"choices": ["moss", "rose", "sky"]}
    entry = sample_entry(lm_eval(0, [-3.0, -1.0, -2.0], **turned) | {"target": "rose"}, "line 1")
    frame, notes = match([entry], ASKED, "log")
    assert frame["prediction"].tolist() == [0]  # rose
    assert np.argsort(frame["probabilities"][0]).tolist() == [2, 1, 0]
    assert notes == ("log: 1 answers are to options in another order, and were mapped by their texts",)
    with pytest.raises(UserError, match="log: 1 answers are to other options, or in another order: line 1"):
        match([sample_entry(lmms_eval(0, "A", **turned), "line 1")], ASKED, "log")


@pytest.mark.parametrize("form", [".tsv", ".xlsx"])
def test_a_result_of_vlmevalkit(tmp_path, form):
    rows = []
    for number, said in ((2, "A"), (3, "The answer is B."), (1, "?")):
        words = ASKED.iloc[number]
        options = dict(zip(LETTERS, words["choices"], strict=False))
        rows.append({"index": number, "question": words["question"], "hint": words["hint"] or None, **options,
                     "answer": LETTERS[words["answer"]], "prediction": said})  # fmt: skip
    file = tmp_path / f"Model_ScienceQA_TEST{form}"
    table = pd.DataFrame(rows)
    table.to_excel(file, index=False) if form == ".xlsx" else table.to_csv(file, sep="\t", index=False)
    read = read_predictions(file, ASKED, partial=True)
    assert read.frame["pid"].tolist() == ["11", "12", "13"]
    assert read.frame["prediction"].tolist() == [pd.NA, 0, 1]


@pytest.mark.skipif(find_spec("inspect_ai") is None, reason="inspect_ai is not installed")
@pytest.mark.parametrize("form", ["eval", "json"])
def test_a_log_of_inspect(tmp_path, form):
    """Written by inspect_ai itself."""
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import ModelOutput

    samples = [
        EvalSample(
            id=pid,
            epoch=1,
            input=words["question"],
            choices=words["choices"],
            target=LETTERS[words["answer"]],
            output=ModelOutput.from_content("mockllm/model", f"The answer is {letter}."),
        )
        for (pid, words), letter in zip(ASKED.iterrows(), "ABABAB", strict=True)
    ]
    spec = EvalSpec(
        created="2026-11-27T00:00:00+00:00", task="t", dataset=EvalDataset(), model="m", config=EvalConfig()
    )
    log = tmp_path / f"log.{form}"
    write_eval_log(EvalLog(eval=spec, status="success", samples=samples), str(log))
    read = read_predictions(log, ASKED)
    assert read.frame["prediction"].tolist() == [0, 1, 0, 1, 0, 1]
    assert read.rule == "strict"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (lm_eval(0, [-1, -2, -3]) | {"filtered_resps": []}, "'filtered_resps' is a list of 0, not a list of answers"),
        (lm_eval(0, ["x", -2, -3]), "the likelihood 'x' is no number"),
        (lm_eval(0, [math.nan, -2, -3]), "the likelihood is nan"),
        (lm_eval(0, [-math.inf] * 3), "every option has the likelihood 0"),
        (lm_eval(0, [-1, -2]), "1 answers are to other options"),
        (lm_eval(0, [-1, -2, -3], question="Which is gone?"), "1 of 1 answers are to no question of this split"),
        (lm_eval(0, [-1, -2, -3]) | {"target": 2}, "1 of 1 entries name another right option"),
        (lmms_eval(0, 7), "the answer is 7, neither a text nor a likelihood for each option"),
        (lmms_eval(0, "A") | {"doc": 3}, "1 of 1 answers are to no question of this split"),
    ],
)
def test_what_is_no_log_of_these_questions_is_refused(line, reason, tmp_path):
    file = jsonl(tmp_path / "s.jsonl", [line])
    with pytest.raises(UserError) as error:
        read_predictions(file, ASKED, partial=True)
    assert str(file) in str(error.value)
    assert reason in str(error.value)


def test_two_answers_to_a_question_and_mixed_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="2 answers are to one of several questions"):
        read_predictions(jsonl(tmp_path / "a.jsonl", [lmms_eval(0, "A")] * 2), ASKED, partial=True)
    twice = [lmms_eval(2, "A") | {"doc": {"pid": "12"}}] * 2
    with pytest.raises(UserError, match="1 questions have more than one answer: 12"):
        read_predictions(jsonl(tmp_path / "b.jsonl", twice), ASKED, partial=True)
    mixed = [lmms_eval(0, "A"), {"question_id": "11", "text": "B"}]
    with pytest.raises(UserError, match=r"1 lines are samples of a harness, 1 are answers of LLaVA"):
        read_predictions(jsonl(tmp_path / "c.jsonl", mixed), ASKED, partial=True)


@pytest.mark.parametrize("suffix", [".eval", ".xlsx"])
def test_archives_are_opened_within_bounds(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "require", lambda *_, **__: None)
    file = tmp_path / f"log{suffix}"
    file.write_bytes(b"no archive")
    with pytest.raises(UserError, match=f"not a readable {suffix} file"):
        read_predictions(file, ASKED)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * 2_000_000)
    monkeypatch.setattr(logs, "MAX_BYTES", 900_000)
    with pytest.raises(UserError, match=r"unpacks to 1 MB, at most 1 are read"):
        read_predictions(file, ASKED)


def test_a_table_without_its_columns_is_refused(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text("index\tquestion\n1\tWhich?\n")
    with pytest.raises(UserError, match="no column A and none prediction: not a result of VLMEvalKit"):
        read_predictions(file, ASKED)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_predictions(file, ASKED)


@pytest.mark.skipif(find_spec("inspect_ai") is not None, reason="inspect_ai is installed")
def test_a_missing_reader_is_named_with_what_installs_it(tmp_path):
    (tmp_path / "log.eval").write_bytes(b"")
    with pytest.raises(UserError, match=r"needs inspect_ai: pip install 'mmadapter\[inspect\]'"):
        read_predictions(tmp_path / "log.eval", ASKED)
