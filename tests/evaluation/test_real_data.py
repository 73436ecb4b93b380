"""The golden numbers: GPT-3's published predictions on real ScienceQA, and every column against raw JSON."""

import json

import pytest

from mmadapter.data import load_dataset
from mmadapter.evaluation.accuracy import TABLE_COLUMNS, accuracy_by_class
from mmadapter.evaluation.frame import error_frame, question_frame
from mmadapter.evaluation.prediction_files import read_predictions
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.evaluation.render import render
from mmadapter.evaluation.table import result_table


@pytest.fixture(scope="module")
def folders(scienceqa_folders):
    return {folder.name: folder for folder in scienceqa_folders}


@pytest.fixture(scope="module")
def gpt3(folders):
    if not {"scienceqa", "scienceqa-img"} <= set(folders):
        pytest.skip("not the development subset")
    return folders["scienceqa"] / "predictions" / "gpt3_cot.json"


def test_gpt3_is_as_published(folders, gpt3):
    questions = question_frame(load_dataset("scienceqa", folders["scienceqa-img"])["test"])
    table = result_table([read_predictions(gpt3, questions)], questions, title="scienceqa test")
    text = render(table)
    row = table.rows[0]
    assert row.digits == dict.fromkeys(TABLE_COLUMNS) | {"Avg": "75.17", "TXT": "74.68", "IMG": "67.43", "NO": "79.93"}
    assert row.scores.loc["Avg", ["correct", "n"]].tolist() == [3188, 4241]
    assert row.rule == "as filed"
    assert row.unparsed is None
    assert text.count("75.17") == 1


def test_every_column_is_a_plain_count(folders, gpt3):
    """On the folder whose metadata is complete, without any of our readers."""
    given = json.loads(gpt3.read_bytes())["results"]
    problems = json.loads((folders["scienceqa"] / "problems.json").read_bytes())
    asked = {pid: p for pid, p in problems.items() if p["split"] == "test"}
    groups = {
        "Avg": list(asked),
        "NAT": [pid for pid, p in asked.items() if p["subject"] == "natural science"],
        "SOC": [pid for pid, p in asked.items() if p["subject"] == "social science"],
        "LAN": [pid for pid, p in asked.items() if p["subject"] == "language science"],
        "TXT": [pid for pid, p in asked.items() if p["hint"]],
        "IMG": [pid for pid, p in asked.items() if p["image"]],
        "NO": [pid for pid, p in asked.items() if not p["hint"] and not p["image"]],
        "G1-6": [pid for pid, p in asked.items() if p["grade"] in [f"grade{g}" for g in range(1, 7)]],
        "G7-12": [pid for pid, p in asked.items() if p["grade"] in [f"grade{g}" for g in range(7, 13)]],
    }
    data = load_dataset("scienceqa", folders["scienceqa"])["test"]
    pids = [problem.pid for problem in data]
    scores = accuracy_by_class(error_frame(predictions_frame(pids, prediction=[given[pid] for pid in pids]), data))
    assert len(asked) == 361
    for name, members in groups.items():
        right = sum(given[pid] == asked[pid]["answer"] for pid in members)
        assert scores.loc[name, ["correct", "n", "unknown"]].tolist() == [right, len(members), 0]
        assert f"{scores.loc[name, 'accuracy']:.2f}" == f"{right / len(members) * 100:.2f}"


@pytest.mark.parametrize(
    ("name", "rule", "right", "unparsed"),
    [
        ("final_test_QCM-ALE_2_seed_3", "official", 3188, 249),  # lupantech/ScienceQA, results/gpt3
        ("test_sqa_llava_13b_v0", "llava", 3855, 0),  # haotian-liu/LLaVA, llava/eval/table/results
        ("test_sqa_llava_lcs_558k_sqa_12e_vicuna_v1_3_13b", "llava", 3863, 4),
    ],
)
def test_a_rule_reads_published_texts_as_its_authors_did(folders, name, rule, right, unparsed):
    """Their files hold the texts and what their own scorer made of them; where it guessed, guesses differ."""
    files = [file for folder in folders.values() if (file := folder / "predictions" / f"{name}.json").exists()]
    if not files:
        pytest.skip(f"no folder of real data has predictions/{name}.json")
    questions = question_frame(load_dataset("scienceqa", list(folders.values()))["test"])
    filed = read_predictions(files[0], questions).frame.set_index("pid")["prediction"]
    read = read_predictions(files[0], questions, rule=rule).frame.set_index("pid")
    parsed = read["unparsed"].isna()
    assert (filed == questions["answer"]).sum() == right
    assert (~parsed).sum() == unparsed
    assert read["prediction"][parsed].equals(filed[parsed])
