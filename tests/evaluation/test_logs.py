"""Other harnesses' logs: what each entry says, and which question it answers."""

import json
import math
import tracemalloc
import zipfile
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import openpyxl
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
    """As some versions of lmms-eval write a line of its ScienceQA task: the document without its picture."""
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


def lmms_eval_prompt(row, pid, text):
    """As lmms-eval 0.3 and later write it: the prompt instead of the document, no `resps` that no filter changed."""
    words = ASKED.loc[pid]
    context = f"Context: {words['hint']}\n" if words["hint"] else ""
    options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, words["choices"], strict=False))
    return {
        "doc_id": row,
        "target": LETTERS[words["answer"]],
        "filtered_resps": [text],
        "doc_hash": "0",
        "exact_match": 1.0,
        "input": f"{context}{words['question']}\n{options}\nAnswer with the option's letter.",
    }


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


def test_a_log_of_prompts_is_matched_by_its_rows(tmp_path):
    """Of two processes, whose parts come one after the other; 12 and 13 differ by the order of their options alone."""
    answers = {"10": "A", "12": "B", "14": "A", "11": "B", "13": "A", "15": "B"}
    lines = [lmms_eval_prompt(list(ASKED.index).index(pid), pid, said) for pid, said in answers.items()]
    read = read_predictions(jsonl(tmp_path / "s.jsonl", lines), ASKED)
    assert dict(zip(read.frame["pid"], read.frame["prediction"].map(LETTERS.__getitem__), strict=True)) == answers
    pictures = [lmms_eval_prompt(0, "12", "A"), lmms_eval_prompt(1, "13", "B")]
    read = read_predictions(jsonl(tmp_path / "i.jsonl", pictures), ASKED, partial=True)
    assert read.frame["pid"].tolist() == ["12", "13"]
    with pytest.raises(UserError, match="2 of 2 answers are to no question of this split"):
        read_predictions(jsonl(tmp_path / "i.jsonl", [line | {"doc_id": 4} for line in pictures]), ASKED)
    with pytest.raises(UserError, match="6 of 6 answers are to no question of this split"):
        read_predictions(jsonl(tmp_path / "s.jsonl", [line | {"input": None} for line in lines]), ASKED)


def test_rows_tell_the_same_words_apart_in_a_part_of_a_log(tmp_path):
    asked = questions(*[("Which is shown?", ["cat", "dog"], 0, "", image) for image in (True, False, True)])
    lines = [lmms_eval(2, text) | {"doc_id": row, "target": "A"} for row, text in ((2, "B"), (1, "A"))]
    read = read_predictions(jsonl(tmp_path / "s.jsonl", lines), asked, partial=True)
    assert dict(zip(read.frame["pid"], read.frame["prediction"], strict=True)) == {"11": 0, "12": 1}
    assert "2 answers were matched by their order among questions of the same words" in read.notes[0]


def test_the_text_is_read_not_what_a_filter_left_of_it(tmp_path):
    said = {"resps": [["(A) is wrong. The answer is B."]], "filter": "none"}
    lines = [lmms_eval(0, "A") | said, lmms_eval(0, "[invalid]") | said | {"filter": "strict-match"}]
    read = read_predictions(jsonl(tmp_path / "s.jsonl", lines), ASKED, partial=True)
    assert read.frame["output"].tolist() == ["(A) is wrong. The answer is B."]
    several = lmms_eval(0, "C") | {"resps": [["A", "C", "C"]]}
    read = read_predictions(jsonl(tmp_path / "s.jsonl", [several]), ASKED, partial=True)
    assert read.frame["prediction"].tolist() == [2]


def test_a_log_with_ids_needs_no_words(tmp_path):
    line = lmms_eval(2, "A") | {"doc": {"pid": "12"}}
    assert read_predictions(jsonl(tmp_path / "s.jsonl", [line]), ASKED, partial=True).frame["pid"].tolist() == ["12"]


def test_the_same_words_are_told_apart_by_hint_and_by_order():
    entries = [sample_entry(lmms_eval(number, "A"), f"line {number}") for number in range(6)]
    frame, _, notes = match(entries, ASKED, "log")
    assert frame["pid"].tolist() == list(ASKED.index)
    assert notes == ()  # 12 and 13 have their options in another order each, and hints differ between 14 and 15


def test_words_are_told_apart_by_the_order_of_the_options():
    """12 and 13 ask for the same options, and only the log's order says which is which."""
    entries = [replace(sample_entry(lmms_eval(number, "A"), f"line {number}"), row=None) for number in (3, 2)]
    frame, turned, notes = match(entries, ASKED, "log")
    assert (frame["pid"].tolist(), turned, notes) == (["13", "12"], {}, ())


def test_pictures_are_told_apart_by_the_order_of_the_log():
    asked = questions(*[("Which is shown?", ["cat", "dog"], answer, "", True) for answer in (0, 1, 1)])
    entries = [
        Entry(where=str(i), question="Which is shown?", options=("cat", "dog"), hint="", target=t, text="A")
        for i, t in enumerate((0, 1, 1))
    ]
    frame, _, notes = match(entries, asked, "log")
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


def test_likelihoods_of_options_in_another_order_are_mapped():
    turned = {"choices": ["moss", "rose", "sky"]}
    entry = sample_entry(lm_eval(0, [-3.0, -1.0, -2.0], **turned) | {"doc_id": 7, "target": "rose"}, "line 1")
    frame, _, notes = match([entry], ASKED, "log")
    assert frame["prediction"].tolist() == [0]  # rose
    assert np.argsort(frame["probabilities"][0]).tolist() == [2, 1, 0]
    assert notes == ("log: 1 answers are to options in another order, and were mapped by their texts",)


def test_letters_mean_the_options_of_the_log(tmp_path):
    """Whichever rule reads them: B is the second option that the model was shown."""
    line = lmms_eval(0, "The answer is B.", choices=["moss", "rose", "sky"]) | {"doc_id": 7, "target": "B"}
    line["doc"].pop("answer")
    for rule in (None, "official"):
        read = read_predictions(jsonl(tmp_path / "s.jsonl", [line]), ASKED, rule=rule, partial=True)
        assert read.frame["prediction"].tolist() == [0]  # rose
        assert "1 answers are to options in another order" in read.notes[0]


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


def inspect_log(path, answers, **changes):
    """Written by inspect_ai itself: the letters that its scorer read, in texts that no rule of ours reads."""
    inspect_log = pytest.importorskip("inspect_ai.log")
    from inspect_ai.model import ChatMessageUser, ContentImage, ContentText, ModelOutput
    from inspect_ai.scorer import Score

    samples = []
    for number, (pid, letter) in enumerate(answers.items()):
        words, image = ASKED.loc[pid], ContentImage(image="data:image/png;base64," + "A" * 2000)
        given = {
            "id": pid,
            "input": [ChatMessageUser(content=[ContentText(text=words["question"]), image])],
            "choices": words["choices"],
            "target": LETTERS[words["answer"]],
            "output": ModelOutput.from_content("mockllm/model", f"So.\n\nANSWER: {letter}"),
            "scores": {"choice": Score(value="C", answer=letter if letter in LETTERS else "")},
        }
        given |= {name: value(number) for name, value in changes.items()}
        samples.append(inspect_log.EvalSample(epoch=1, **given))
    spec = inspect_log.EvalSpec(
        created="2026-11-27T00:00:00+00:00",
        task="t",
        dataset=inspect_log.EvalDataset(),
        model="m",
        config=inspect_log.EvalConfig(),
    )
    inspect_log.write_eval_log(inspect_log.EvalLog(eval=spec, status="success", samples=samples), str(path))
    return path


GIVEN = dict(zip(ASKED.index, "CBABA?", strict=True))


@pytest.mark.parametrize("form", ["eval", "json"])
def test_a_log_of_inspect_stands_as_its_scorer_read_it(tmp_path, form):
    log = inspect_log(tmp_path / f"log.{form}", GIVEN)
    read = read_predictions(log, ASKED)
    assert read.frame["prediction"].tolist() == [2, 1, 0, 1, 0, pd.NA]
    assert read.frame["unparsed"].notna().tolist() == [False] * 5 + [True]
    assert read.rule == "as filed"
    assert read_predictions(log, ASKED, rule="strict").frame["unparsed"].notna().all()


def test_a_log_of_inspect_without_that_scorer_is_read_by_a_rule(tmp_path):
    from_text = {"scores": lambda number: None, "output": lambda number: output(f"The answer is {'ABA'[number]}.")}
    output = pytest.importorskip("inspect_ai.model").ModelOutput
    output = lambda text, make=output: make.from_content("mockllm/model", text)  # noqa: E731
    read = read_predictions(
        inspect_log(tmp_path / "log.eval", dict(list(GIVEN.items())[:3]), **from_text), ASKED, partial=True
    )
    assert (read.frame["prediction"].tolist(), read.rule) == ([0, 1, 0], "strict")


def test_samples_of_inspect_that_failed_are_missing(tmp_path):
    errors = pytest.importorskip("inspect_ai.log").EvalError
    failed = errors(message="m", traceback="t", traceback_ansi="t")
    log = inspect_log(tmp_path / "log.eval", GIVEN, error=lambda number: failed if number == 1 else None)
    with pytest.raises(UserError, match="1 questions have no prediction: 11"):
        read_predictions(log, ASKED)


def test_numbers_that_inspect_gave_are_rows_not_ids(tmp_path):
    """Its own ids count from 1, and may be pids of other questions."""
    asked = ASKED.set_axis(pd.Index(["2", "1", "4", "3", "6", "5"], dtype="string", name="pid"))
    log = inspect_log(tmp_path / "log.eval", dict(list(GIVEN.items())[:3]), id=lambda number: number + 1)
    assert read_predictions(log, asked, partial=True).frame["pid"].tolist() == ["2", "1", "4"]


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path):
    log = inspect_log(tmp_path / "log.eval", GIVEN)
    with zipfile.ZipFile(log) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(log, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content[:-1] + b" " * (100 << 20) + b"}" if "samples/10_" in name else content)
    data = bytearray(log.read_bytes())
    at = data.rindex(b"samples/10_") - 46  # its entry in the directory
    data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
    log.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"log\.eval: cannot load it"):
        read_predictions(log, ASKED)
    assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


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
        (lmms_eval(0, 7), "the answer is 7, neither a text nor likelihoods of options"),
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
    with pytest.raises(UserError, match="1 questions have more than one answer: 10"):
        read_predictions(jsonl(tmp_path / "a.jsonl", [lmms_eval(0, "A")] * 2), ASKED, partial=True)
    twice = [lmms_eval(2, "A") | {"doc": {"pid": "12"}}] * 2
    with pytest.raises(UserError, match="1 questions have more than one answer: 12"):
        read_predictions(jsonl(tmp_path / "b.jsonl", twice), ASKED, partial=True)
    mixed = [lmms_eval(0, "A"), {"question_id": "11", "text": "B"}]
    with pytest.raises(UserError, match=r"1 lines are samples of a harness, 1 are answers of LLaVA"):
        read_predictions(jsonl(tmp_path / "c.jsonl", mixed), ASKED, partial=True)


def test_archives_are_opened_within_bounds(tmp_path, monkeypatch):
    file = tmp_path / "log.xlsx"
    file.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"not a readable \.xlsx file"):
        read_predictions(file, ASKED)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", b" " * 9_000_000)
    monkeypatch.setattr(logs, "MAX_BYTES", 1 << 20)
    with pytest.raises(UserError, match=r"unpacks to 8 MB, at most 4 are read"):
        read_predictions(file, ASKED)


def test_a_cell_far_out_costs_nothing(tmp_path):
    """Two cells claim 17 thousand million others."""
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "question", "far"
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(UserError, match="has more than the 65,536 rows that are read"):
        read_predictions(tmp_path / "t.xlsx", ASKED)


def test_a_table_without_its_columns_is_refused(tmp_path):
    file = tmp_path / "t.tsv"
    file.write_text("index\tquestion\n1\tWhich?\n")
    with pytest.raises(UserError, match="no column A and none prediction: not a result of VLMEvalKit"):
        read_predictions(file, ASKED)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot load it: 'utf-8' codec"):
        read_predictions(file, ASKED)


@pytest.mark.skipif(find_spec("inspect_ai") is not None, reason="inspect_ai is installed")
def test_a_missing_reader_is_named_with_what_installs_it(tmp_path):
    (tmp_path / "log.eval").write_bytes(b"")
    with pytest.raises(UserError, match=r"needs inspect_ai: pip install 'mmadapter\[inspect\]'"):
        read_predictions(tmp_path / "log.eval", ASKED)
