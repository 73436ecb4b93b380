"""What the tables and verdicts say, on results written by hand."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats import contingency_tables

from eval.recipes import attention, by_class
from eval.results import Questions, Results, Run
from eval.runs import run_key
from eval.study import STUDIES
from eval.tables import (
    MINUS,
    arms_table,
    choices_table,
    classes_table,
    controls_tables,
    efficiency_tables,
    readout_tables,
    verdict,
)

STUDY = STUDIES["tiny"]
N = 200
CLASSES = {"Avg": "1" * N, "IMG": "10" * (N // 2), "NO": "01" * (N // 2)}


def results(exhibit, *answers: str) -> Results:
    """Each arm answers the same on every seed."""
    runs = {}
    for arm, right in zip(exhibit.arms(STUDY), answers, strict=True):
        for seed in STUDY.seeds:
            epochs = [{"epoch": 1, "train_loss": 0.5, "val_loss": None, "val_accuracy": None}]
            runs[run_key(arm.config(STUDY, seed))] = Run({}, seed, 7, epochs, 1.0, {"test": right, "val": right})
    return Results({}, {split: Questions(N, CLASSES) for split in ("val", "test")}, runs)


@pytest.mark.parametrize(
    ("zero", "rand", "expected"),
    [
        ("1" * N, "0111" * (N // 4), "**Agrees**: zero-init minus rand-init on test Avg: +25.00 (+18."),
        ("0111" * (N // 4), "1" * N, f"**Disagrees**: zero-init minus rand-init on test Avg: {MINUS}25.00 ({MINUS}31."),
        (
            "1" * (N - 1) + "0",
            "0" + "1" * (N - 1),
            f"**Inconclusive**: zero-init minus rand-init on test Avg: +0.00 ({MINUS}1.",
        ),
    ],
)
def test_a_claim_is_judged_by_its_interval(zero, rand, expected):
    exhibit = attention.EXHIBIT
    said = verdict(exhibit.claims[0], exhibit, STUDY, results(exhibit, zero, rand))
    assert expected in said
    assert said.endswith("3 seeds, 200 questions.")


def test_a_claim_that_nothing_is_lost_allows_what_it_names():
    exhibit = by_class.EXHIBIT
    lossless = exhibit.claims[1]
    found = results(exhibit, "1" * N, "1" * N)
    assert "**Inconclusive**" in verdict(lossless, exhibit, STUDY, found)  # 100 questions bound it at 3.6 points
    assert "**Agrees**" in verdict(replace(lossless, least=-4.0), exhibit, STUDY, found)


def test_what_arms_wrote_stands_beside_what_they_compared():
    exhibit = attention.EXHIBIT
    found = results(exhibit, "1" * N, "1" * N)
    assert "generated" not in arms_table(exhibit, STUDY, found)
    for arm, wrote in zip(exhibit.arms(STUDY), ("10" * (N // 2), "0" * N), strict=True):
        key = run_key(arm.config(STUDY, 1))
        found.runs[key] = replace(found.runs[key], generated={"val": wrote})
    head, _, zero, rand = (
        [cell.strip() for cell in line.split("|")] for line in arms_table(exhibit, STUDY, found).splitlines()
    )
    column = head.index("val Avg, generated")
    assert zero[column].startswith("50.00 (43.")
    assert rand[column].startswith("0.00 (0.00 to ")


def test_a_claim_without_runs_is_not_judged():
    exhibit = attention.EXHIBIT
    found = replace(results(exhibit, "1" * N, "1" * N), runs={})
    assert verdict(exhibit.claims[0], exhibit, STUDY, found).endswith("*Not run.*")


def test_differences_by_class_are_the_paired_ones():
    table = classes_table(by_class.EXHIBIT, STUDY, results(by_class.EXHIBIT, "1" * N, "01" * (N // 2)))
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:4] for line in table.splitlines()}
    assert rows["IMG"] == ["100", "100.00", "0.00"]
    assert rows["NO"] == ["100", "100.00", "100.00"]
    assert rows["Avg"] == ["200", "100.00", "50.00"]


def test_one_seed_in_common_has_mcnemars_test():
    """Oracle: statsmodels."""
    exhibit = attention.EXHIBIT
    a, b = "1" * 150 + "0" * 50, "10" * 70 + "01" * 30
    both = np.array([[int(x) for x in side] for side in (a, b)])
    table = [[((both[0] == i) & (both[1] == j)).sum() for j in (1, 0)] for i in (1, 0)]
    expected = contingency_tables.mcnemar(table, exact=True).pvalue
    found = results(exhibit, a, b)
    zero, rand = exhibit.arms(STUDY)
    lone = found.runs[run_key(zero.config(STUDY, 0))]
    lone.correct["test"] = "0" * N  # a seed that the other arm has not
    del found.runs[run_key(rand.config(STUDY, 0))], found.runs[run_key(zero.config(STUDY, 2))]
    assert verdict(exhibit.claims[0], exhibit, STUDY, found).endswith(f"McNemar's p = {expected:.2g}.")


def test_conditions_of_the_image_stand_where_they_were_asked():
    exhibit = by_class.EXHIBIT
    found = results(exhibit, "1" * N, "01" * (N // 2))
    assert controls_tables(exhibit.arms(STUDY)[0], STUDY, found) == []
    controls = {"true": "1" * N, "blank": "1000" * (N // 4), "shuffled": "0" * N, "none": "1000" * (N // 4)}
    key = run_key(exhibit.arms(STUDY)[0].config(STUDY, 1))
    found = replace(found, runs=found.runs | {key: replace(found.runs[key], controls=controls)})
    *_, true, blank, shuffled, _ = classes_table(exhibit, STUDY, found).splitlines()
    assert true.startswith("| true image | 100.00")
    assert blank.startswith(f"| blank image | 50.00 (40.03 to 59.97) | {MINUS}50.00")
    assert shuffled.startswith("| shuffled image | 0.00")


def test_a_read_out_stands_beside_the_arms_on_the_questions_that_it_answers_and_towers_on_vals():
    exhibit = by_class.EXHIBIT
    found = results(exhibit, "1" * N, "01" * (N // 2))
    towers = {"plain": {"val": "1100" * 5 + "-" * 180, "test": "-" * 100 + "1110" * 25}}
    table = readout_tables({"towers": towers}, exhibit, STUDY, found)
    assert [line.split(" (")[0] for line in table.splitlines()[2:]] == [
        "| linear read-out | 100 | 75.00",
        "| multimodal | 100 | 100.00",
        "| text-only | 100 | 50.00",
    ]
    towers["tuned"] = {"val": "1010" * 5 + "-" * 180}
    _, val = readout_tables({"towers": towers}, exhibit, STUDY, found).split("\n\n")
    assert [line.split(" (")[0] for line in val.splitlines()[2:]] == [
        "| plain | 20 | 50.00",
        "| tuned | 20 | 50.00",
        "| difference |  | +0.00",
    ]


def test_storage_is_told_with_its_unit():
    trained = [
        {"method": "LLaMA-Adapter", "rate": rate, "seed": 0, "tuned": 9, "seconds": 2.0, "memory": 2**20,
         "val_accuracy": 50.0, "test_accuracy": 60.0} for rate in (0.1, 0.3)
    ]  # fmt: skip
    record = {
        "counted": {"LLaMA-Adapter": 1_229_760},
        "published": {"LLaMA-Adapter": ["1.2M", "4.7M"]},
        "rates": {"LLaMA-Adapter": 0.3},
        "trained": trained,
        "settings": {"epochs": 3, "seeds": [0]},
    }
    shown = efficiency_tables(record)
    assert "| LLaMA-Adapter | 1,229,760 | 4.9 MB = 4.7 MiB (single precision) | 1.2M | 4.7M |" in shown
    assert "| LLaMA-Adapter | 9 | 0.3 of 0.1, 0.3 | 2 s | 1 MiB | 50.00 (50.00 to 50.00) |" in shown


def test_settings_that_were_tried_stand_beside_what_they_came_to():
    shared = {"clip": "efficientnet-lite0", "epochs": 3, "choice_loss": 10.0, "components": None}
    tried = [({}, 90), ({"choice_loss": 0.5}, 80), ({"components": 512, "new": "b"}, 75)]
    record = {str(right): {"settings": shared | changed, "right": {"IMG": [right, 100]}} for changed, right in tried}
    assert choices_table(record).splitlines() == [
        "| `choice_loss` | `components` | `new` | IMG |",
        "| :-- | --: | --: | --: |",
        "| 10 |  |  | 90.0 ± 3.0 |",
        "| 0.5 |  |  | 80.0 ± 4.0 |",
        "| 10 | 512 | b | 75.0 ± 4.3 |",
        "| questions |  |  | 100 |",
    ]
