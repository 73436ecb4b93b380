"""mmadapter-eval from arguments to table and exit code."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from mmadapter.cli.eval import main
from mmadapter.data import load_dataset
from tests.evaluation.questions import answers, questions


@pytest.fixture
def asked(tmp_path):
    return questions(tmp_path / "data")["test"]


@pytest.fixture
def arguments(tmp_path, asked):
    for name, right in (("first", 0.8), ("second", 0.3)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": answers(asked, right)}))
    files = [str(tmp_path / f"{name}.json") for name in ("first", "second")]
    return ["--predictions", *files, "--dataset", "scienceqa", "--data-dir", str(tmp_path / "data")]


def test_prints_the_table(arguments, asked, capsys):
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    given = answers(asked, 0.8)
    average = sum(given[p.pid] == p.answer for p in asked) / len(given) * 100
    assert re.search(rf"^first +{average:.2f}\*", out, re.MULTILINE)
    assert "scienceqa test: 53 questions" in out
    assert err == ""


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json"])
def test_every_format_with_everything(form, arguments, capsys):
    assert main([*arguments, "--format", form, "--intervals", "--published", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "85.19" in out
    assert "first" in out


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ([], "nothing to evaluate"),
        (["--nonsense"], "--nonsense"),
        (["--format", "html"], "invalid choice: 'html'"),
        (["--predictions", "gone.json", "--dataset", "demo", "--data-dir", "."], "no ScienceQA problems at"),
        (["gone"], "gone: not a run directory"),
    ],
)
def test_a_users_mistake_is_one_or_two_lines_and_exit_2(changed, told, capsys):
    assert main(changed) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mmadapter-eval: ")
    assert told in err
    assert err.count("\n") <= 2


def test_a_missing_question_is_an_error_that_counts(arguments, tmp_path, capsys):
    file = tmp_path / "first.json"
    file.write_text(json.dumps({"results": dict(list(json.loads(file.read_text())["results"].items())[4:])}))
    assert main(arguments) == 2
    assert "first.json: 4 questions have no prediction: 100, 101, 102, 103" in capsys.readouterr().err


def test_our_own_bug_is_exit_1_and_debug_shows_where(arguments, capsys, monkeypatch):
    monkeypatch.setattr("mmadapter.evaluation.render.render", lambda *a, **k: 1 / 0)
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "Traceback" not in err
    assert main([*arguments, "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_no_traceback(arguments, capsys, monkeypatch):
    def interrupt(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmadapter.runs.collect.collect", interrupt)
    assert main(arguments) == 1
    assert capsys.readouterr().err == "mmadapter-eval: interrupted; the same command goes on from here\n"


def test_version(capsys):
    with pytest.raises(SystemExit) as done:
        main(["--version"])
    assert done.value.code == 0
    assert re.fullmatch(r"mmadapter-eval \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


COMMAND = [sys.executable, "-c", "import sys; from mmadapter.cli.eval import main; sys.exit(main())"]


@pytest.mark.parametrize("command", ["eval", "errors"])
def test_help_is_light(command):
    check = f"""
import sys
from mmadapter.cli.{command} import main
try:
    main(['--help'])
except SystemExit as done:
    assert done.code == 0
else:
    raise AssertionError("no help")
heavy = {{'pandas', 'numpy', 'torch', 'rich', 'pyarrow'}} & set(sys.modules)
assert not heavy, heavy
"""
    told = subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert told.startswith(f"usage: mmadapter-{command} ")
    assert "--data-dir" in told


@pytest.mark.slow
def test_help_is_quick():
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_torch_is_never_imported(arguments):
    check = f"import sys; from mmadapter.cli.eval import main; main({arguments!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)


def test_a_closed_pipe_is_no_error(arguments):
    read, written = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, *arguments], stdout=written, stderr=subprocess.PIPE)
    os.close(written)
    assert done.returncode == 0
    assert done.stderr == b""


def test_baselines_are_looked_up_in_the_training_split(tmp_path, capsys):
    file = tmp_path / "first.json"
    file.write_text(json.dumps({"results": answers(load_dataset("demo")["test"], 0.8)}))
    command = ["--predictions", str(file), "--dataset", "demo", "--baselines", "--intervals", "--quiet"]
    assert main([*command, "--format", "json"]) == 0
    content = json.loads(capsys.readouterr().out)
    names = [row["name"] for row in content["baselines"]]
    assert names == ["chance", "most frequent option", "wording prior", "nearest picture"]
    assert content["gains"]["first"]["Avg"]["baseline"] in names
    asked_before, seen_before = (kind["first"] for kind in content["classes"].values())
    asked = [asked_before[name]["n"] for name in ("never asked", "asked 1 to 10 times", "asked more often")]
    assert sum(asked) == content["n"]
    shown = sum(seen_before[name]["n"] for name in ("picture seen", "picture new"))
    assert shown == content["systems"][0]["columns"]["IMG"]["n"]


def test_without_a_training_split_there_is_nothing_to_look_up(arguments, capsys):
    assert main([*arguments, "--baselines"]) == 2
    assert "--baselines looks questions up in the training split" in capsys.readouterr().err


def test_classes_of_questions_stand_side_by_side_or_below_each_other(arguments, capsys, monkeypatch):
    command = [*arguments, "--by", "option-count", "option-length", "--intervals", "--quiet"]
    assert main(command) == 0
    wide = capsys.readouterr().out
    assert "by option count, accuracy in percent" in wide
    assert "by option length, accuracy in percent" in wide
    monkeypatch.setattr("mmadapter.evaluation.render.MOST_COLUMNS", 1)
    assert main(command) == 0
    assert len(capsys.readouterr().out.splitlines()) < len(wide.splitlines())
    assert main([*arguments, "--by", "skill", "--format", "json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["classes"]) == ["skill"]


@pytest.mark.parametrize("more", [[], ["--intervals", "--resample", "question"], ["--intervals", "--margin", "0"]])
def test_a_margin_needs_something_to_test(more, arguments, capsys):
    assert main([*arguments, "--margin", "2", *more]) == 2
    assert "--margin: must be above 0, and needs --intervals over wordings" in capsys.readouterr().err


def test_the_unit_of_resampling_is_said(arguments, capsys):
    told = {}
    for unit in ("wording", "question"):
        assert main([*arguments, "--intervals", "--resample", unit, "--quiet"]) == 0
        told[unit] = capsys.readouterr().out
    assert "over wordings alone, one seed" in told["wording"]
    assert "over questions as if they were independent" in told["question"]
