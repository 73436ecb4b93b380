"""What the tables and verdicts say, on results written by hand."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from eval.recipes import attention, by_class, main_result
from eval.results import Questions, Results, Run
from eval.runs import run_key
from eval.study import STUDIES
from eval.tables import (
    MINUS,
    arms_table,
    choices_table,
    classes_table,
    columns_table,
    controls_tables,
    coverage_table,
    efficiency_tables,
    verdict_lines,
)
from mmadapter.evaluation.reliance import LABELS

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
    return Results(
        {},
        {
            split: Questions(N, CLASSES, list(range(N)), {"chance": [0.25] * N, "prior": [0.0, 1.0] * (N // 2)})
            for split in ("val", "test")
        },
        runs,
    )


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
    said = verdict_lines([exhibit], STUDY, results(exhibit, zero, rand)).splitlines()[0]
    assert expected in said
    assert "; 200 questions, over wordings and 3 seeds; p " in said


def test_a_claim_that_nothing_is_lost_allows_what_it_names():
    exhibit = by_class.EXHIBIT
    found = results(exhibit, "1" * N, "1" * N)

    def judged(least):
        claims = (replace(exhibit.claims[1], least=least),)
        return verdict_lines([replace(exhibit, claims=claims)], STUDY, found)

    assert "**Inconclusive**" in judged(-2.0)  # 100 questions bound it at 3.6 points
    assert "**Agrees**" in judged(-4.0)


def test_the_claims_of_a_page_are_one_family():
    """Each p is Holm's among as many as there are, from the exhibits' own differences."""
    rng = np.random.default_rng(0)
    a, b = ("".join(map(str, rng.integers(2, size=N))) for _ in range(2))
    found = results(by_class.EXHIBIT, a, b)
    alone = [
        verdict_lines([replace(by_class.EXHIBIT, claims=(claim,))], STUDY, found) for claim in by_class.EXHIBIT.claims
    ]
    both = verdict_lines([by_class.EXHIBIT], STUDY, found).splitlines()

    def p(line):
        return float(line.split("; p ")[1].split(" ")[0])

    expected = multipletests([p(line) for line in alone], method="holm")[1]
    assert [p(line) for line in both] == pytest.approx(expected, rel=0.05)  # two digits are printed


def test_baselines_stand_above_the_arms_and_gains_below():
    exhibit = main_result.EXHIBIT
    table, gains = columns_table(exhibit, STUDY, results(exhibit, "1" * N, "01" * (N // 2))).split("Gains in points")
    names = [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]]
    assert names[:7] == ["questions", "chance", "prior", "**multimodal, chosen**", "multimodal, written",
                         "**text-only, chosen**", "text-only, written"]  # fmt: skip
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in gains.splitlines() if line.startswith("|")}
    assert rows["IMG"][1] == "chance"  # the prior has none of these
    assert [cell.split(" (")[0] for cell in rows["IMG"][2:]] == ["+100.00", "+75.00", f"{MINUS}25.00"]
    assert rows["NO"][1] == "prior"


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
    assert verdict_lines([exhibit], STUDY, found).splitlines()[0].endswith("*Not run.*")


def test_differences_by_class_are_the_paired_ones():
    table = classes_table(by_class.EXHIBIT, STUDY, results(by_class.EXHIBIT, "1" * N, "01" * (N // 2)))
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[1:4] for line in table.splitlines()}
    assert rows["IMG"] == ["100", "100.00", "0.00"]
    assert rows["NO"] == ["100", "100.00", "100.00"]
    assert rows["Avg"] == ["200", "100.00", "50.00"]


def test_one_seed_in_common_is_over_wordings_alone():
    exhibit = attention.EXHIBIT
    a, b = "1" * 150 + "0" * 50, "10" * 70 + "01" * 30
    found = results(exhibit, a, b)
    zero, rand = exhibit.arms(STUDY)
    lone = found.runs[run_key(zero.config(STUDY, 0))]
    lone.correct["test"] = "0" * N  # a seed that the other arm has not
    del found.runs[run_key(rand.config(STUDY, 0))], found.runs[run_key(zero.config(STUDY, 2))]
    apart = np.array([int(x) - int(y) for x, y in zip(a, b, strict=True)])
    expected = f"{100 * apart.mean():+.2f}"
    said = verdict_lines([exhibit], STUDY, found).splitlines()[0]
    assert expected in said
    assert "over wordings alone, one seed" in said


def test_conditions_of_the_image_stand_where_they_were_asked():
    exhibit = by_class.EXHIBIT
    found = results(exhibit, "1" * N, "01" * (N // 2))
    assert controls_tables(exhibit.arms(STUDY)[0], STUDY, found) == []
    controls = {"true": "1" * N, "blank": "1000" * (N // 4), "shuffled": "0" * N, "none": "1000" * (N // 4)}
    key = run_key(exhibit.arms(STUDY)[0].config(STUDY, 1))
    found = replace(found, runs=found.runs | {key: replace(found.runs[key], controls=controls)})
    lines = classes_table(exhibit, STUDY, found).splitlines()
    true, blank, shuffled = (
        next(line for line in lines if line.startswith(f"| {LABELS[name]}")) for name in ("true", "blank", "shuffled")
    )
    assert true.startswith("| true image | 100 | 100.00")
    assert blank.startswith("| blank image (*) | 100 | 50.00 (40.22 to 59.78)")
    assert f"| {MINUS}50.00" in blank
    assert shuffled.startswith("| another question's | 100 | 0.00")


def test_a_condition_that_some_questions_lack_is_compared_over_the_others():
    exhibit = by_class.EXHIBIT
    found = results(exhibit, "1" * N, "01" * (N // 2))
    within = ("10" * (N // 8) + "00" * (N // 8)) + "--" * (N // 4)
    controls = {"true": "1" * N, "within": within}
    key = run_key(exhibit.arms(STUDY)[0].config(STUDY, 1))
    found = replace(found, runs=found.runs | {key: replace(found.runs[key], controls=controls)})
    (line,) = [
        line for line in controls_tables(exhibit.arms(STUDY)[0], STUDY, found)[1].splitlines() if "same words" in line
    ]
    assert line.startswith("| same words, other image | 50 | 50.00")
    assert f"| {MINUS}50.00" in line


def test_storage_is_told_with_its_unit():
    trained = [
        {"method": "LLaMA-Adapter", "rate": rate, "seed": 0, "tuned": 9, "seconds": 2.0, "memory": 2**20,
         "val": "10", "test": "11010"} for rate in (0.1, 0.3)
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
    record = {
        str(right): {
            "settings": shared | changed,
            "right": "1" * right + "0" * (100 - right),
            "classes": {"IMG": "1" * 100},
            "wording": list(range(100)),
        }
        for changed, right in tried
    }
    lines = choices_table(record).splitlines()
    assert lines[0] == "| `choice_loss` | `components` | `new` | IMG |"
    assert [line.split(" (")[0] for line in lines[2:5]] == [
        "| 10 |  |  | 90.00",
        "| 0.5 |  |  | 80.00",
        "| 10 | 512 | b | 75.00",
    ]
    assert lines[5] == "| questions |  |  | 100 |"


def test_coverage_is_told_from_the_least_to_the_most():
    def cell(seeds, *covered):
        methods = zip(("questions", "bootstrap", "cluster-t"), covered, strict=True)
        both = {method: {"covered": value} for method, value in methods}
        about = {"class": "IMG", "sizes": "fixed", "questions": 2017, "clusters": 724, "seeds": seeds}
        return about | {"accuracy": both, "difference": both}

    *_, row = coverage_table({"coverage": [cell(1, 60.0, 90.0, 95.5), cell(3, 50.0, 92.0, 95.0)]}).splitlines()
    both = "50.0 to 60.0 | 90.0 to 92.0 | 95.0 to 95.5"
    assert row == f"| IMG | 2,017 | 724 | fixed | {both} | {both} |"
