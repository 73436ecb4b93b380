"""mmadapter-eval where a model has to answer: other splits, other scoring, controls; each of them once."""

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmadapter.cli import errors
from mmadapter.cli.eval import main
from mmadapter.config.files import read_settings
from mmadapter.data import load_dataset
from mmadapter.experiment import reload
from mmadapter.experiment.reload import load_variant
from mmadapter.inference import predict as predict_module
from mmadapter.inference.predict import predict
from mmadapter.inference.rows import length_batches

VARIANTS = ("multimodal", "text")


@pytest.fixture(autouse=True)
def one_thread_and_own_cache(monkeypatch, tmp_path_factory):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("MMADAPTER_CACHE", str(tmp_path_factory.getbasetemp() / "eval-runs-cache"))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(colour_run, tmp_path) -> Path:
    """A copy of the finished run, at one's own disposal."""
    return Path(shutil.copytree(colour_run, tmp_path / "run"))


@pytest.fixture
def data(colour_run):
    return load_dataset("scienceqa", read_settings(colour_run / "config.yaml")["data_dir"])


@pytest.fixture
def no_model(monkeypatch):
    """From here on every use of a model is a failure."""

    def forbid():
        monkeypatch.setattr(reload, "load_variant", lambda folder: pytest.fail(f"{folder}: loaded again"))

    return forbid


def printed(capsys, *arguments) -> dict:
    assert main([*map(str, arguments), "--format", "json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_another_split_is_answered_once_and_stored(run, data, capsys, no_model):
    before = {path: path.read_bytes() for path in run.rglob("predictions.parquet")}
    table = printed(capsys, run, "--split", "val")
    assert table["title"] == "scienceqa val"
    for variant, system in zip(VARIANTS, table["systems"], strict=True):
        stored = pd.read_parquet(run / variant / "predictions-val.parquet")
        direct = predict(load_variant(run / variant), data["val"], quiet=True)
        assert stored["prediction"].tolist() == direct["prediction"].tolist()
        right = [said == p.answer for said, p in zip(direct["prediction"], data["val"], strict=True)]
        assert system["columns"]["Avg"]["correct"] == sum(right)
    assert {path: path.read_bytes() for path in run.rglob("predictions.parquet")} == before
    assert not list(run.rglob("*.part"))
    no_model()
    assert printed(capsys, run, "--split", "val") == table
    assert errors.main([str(run), "--split", "val", "--quiet"]) == 0
    assert "scienceqa val" in capsys.readouterr().out


def test_only_what_is_missing_is_answered(run, capsys, monkeypatch):
    printed(capsys, run, "--split", "val")
    (run / "text" / "predictions-val.parquet").unlink()
    loaded = []
    monkeypatch.setattr(reload, "load_variant", lambda folder: loaded.append(folder.name) or load_variant(folder))
    printed(capsys, run, "--split", "val")
    assert loaded == ["text"]


def test_another_scoring_is_answered_once_and_names_its_rule(run, capsys, no_model):
    table = printed(capsys, run, "--scoring", "generate")
    assert [system["rule"] for system in table["systems"]] == ["option text"] * 2
    assert all(system["unparsed"] is not None for system in table["systems"])
    stored = pd.read_parquet(run / "multimodal" / "predictions-generate.parquet")
    assert stored["output"].notna().all()
    no_model()
    assert printed(capsys, run, "--scoring", "generate") == table
    assert printed(capsys, run, "--scoring", "likelihood") == printed(capsys, run)
    assert printed(capsys, run)["systems"][0]["rule"] == "likelihood"


def test_both_ways_of_answering_stand_side_by_side(run, capsys):
    table = printed(capsys, run, "--scoring", "both")
    names = [f"{variant}, {how}" for variant in VARIANTS for how in ("chosen", "written")]
    assert [system["name"] for system in table["systems"]] == names
    apart = {how: printed(capsys, run, "--scoring", how)["systems"] for how in ("likelihood", "generate")}
    expected = [system["columns"] for pair in zip(*apart.values(), strict=True) for system in pair]
    assert [system["columns"] for system in table["systems"]] == expected


def test_controls_show_who_looks(run, capsys, no_model):
    found = dict(zip(VARIANTS, printed(capsys, run, "--controls")["controls"], strict=True))
    images = {
        variant: {row["condition"]: row for row in found[variant]["images"] if row["question_class"] == "IMG"}
        for variant in VARIANTS
    }
    seeing, blind = images["multimodal"], images["text"]
    assert seeing["true"]["accuracy"] == 100  # the run learnt its two colours
    for condition in ("blank", "shuffled", "within", "none"):
        assert seeing[condition]["accuracy"] < 75
        assert seeing[condition]["p"] is None  # all questions have one wording: how sure it is cannot be told
        assert seeing[condition]["difference"] < -25
        assert seeing[condition]["changed"] == seeing[condition]["only_true"] > 0
        assert (blind[condition]["changed"], blind[condition]["difference"]) == (0, 0)
    records = pd.read_parquet(run / "text" / "controls.parquet").set_index("condition")
    for condition in ("blank", "shuffled", "none"):
        pd.testing.assert_frame_equal(
            records.loc[condition].reset_index(drop=True), records.loc["true"].reset_index(drop=True), check_exact=True
        )
    order = {row["question_class"]: row for row in found["multimodal"]["order"]}
    assert order["Avg"]["always"] == 100  # it says the colour, wherever that stands
    assert (order["Avg"]["same_option"], order["Avg"]["same_letter"]) == (100, 0)
    for variant in VARIANTS:
        assert json.loads((run / variant / "controls.json").read_text())["images"] == found[variant]["images"]
    no_model()
    assert main([str(run), "--controls"]) == 0
    out = capsys.readouterr().out
    again = f"import sys; from mmadapter.cli.eval import main; main({[str(run), '--controls']!r})"
    light = f"{again}; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", light], check=True, capture_output=True, text=True).stdout == out
    assert "multimodal: does it look? Accuracy in percent on questions with an image" in out
    assert "text: the options in all rotations of their order, in percent" in out


def test_controls_of_other_answers_are_not_taken_for_these(run, capsys, monkeypatch):
    printed(capsys, run / "text", "--controls")
    file = run / "text" / "predictions.parquet"
    answers = pd.read_parquet(file)
    answers["prediction"] = 1 - answers["prediction"]
    answers.to_parquet(file)
    asked = []
    monkeypatch.setattr(reload, "load_variant", lambda folder: asked.append(folder) or load_variant(folder))
    order = printed(capsys, run / "text", "--controls")["controls"][0]["order"]
    assert asked == [run / "text"]
    assert order[0]["same_option"] == 0  # nothing is left of these answers in another order
    assert json.loads((run / "text" / "controls.json").read_text())["order"] == order


@pytest.fixture
def batches(monkeypatch):
    """Small batches; those that are answered, each as its pids. Answering stops once, before the batch of `stop_at`."""
    asked, answer = Asked(), predict_module.option_log_likelihoods

    def counting(model, adaption, batch, below):
        if len(asked) == asked.stop_at:
            asked.stop_at = None
            raise KeyboardInterrupt
        asked.append([question.pid for question in batch])
        return answer(model, adaption, batch, below)

    monkeypatch.setattr(predict_module, "option_log_likelihoods", counting)
    monkeypatch.setattr(predict_module, "length_batches", partial(length_batches, max_tokens=300))
    return asked


class Asked(list):
    stop_at: int | None = None


def test_an_interrupted_evaluation_asks_no_question_twice_and_ends_bit_identical(run, capsys, batches):
    printed(capsys, run / "text", "--split", "val")
    file = run / "text" / "predictions-val.parquet"
    expected, whole = file.read_bytes(), list(batches)
    file.unlink()
    for stop_at in range(1, len(whole), 2):
        batches.clear()
        batches.stop_at = stop_at
        assert main([str(run / "text"), "--split", "val", "--quiet"]) == 1
        assert "interrupted; the same command goes on from here" in capsys.readouterr().err
        with (run / "text" / "predictions-val-unfinished.jsonl").open("a") as journal:
            journal.write('{"3": {"predic')  # killed while it wrote
        printed(capsys, run / "text", "--split", "val")
        assert batches == whole
        assert file.read_bytes() == expected
        file.unlink()
        assert not list(run.rglob("*unfinished*"))


def test_answers_of_another_adapter_are_not_gone_on_with(run, capsys, batches):
    batches.stop_at = 1
    assert main([str(run / "text"), "--split", "val", "--quiet"]) == 1
    capsys.readouterr()
    model = load_variant(run / "text")
    with torch.no_grad():
        model.adapter.gates.add_(1e-6)
    model.save_pretrained(run / "text")
    first = batches[0]
    printed(capsys, run / "text", "--split", "val")
    assert batches.count(first) == 2


def test_a_damaged_journal_is_named(run, capsys, batches):
    batches.stop_at = 2
    assert main([str(run / "text"), "--split", "val", "--quiet"]) == 1
    journal = run / "text" / "predictions-val-unfinished.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"prediction", b"\0", 1))
    capsys.readouterr()
    assert main([str(run / "text"), "--split", "val", "--quiet"]) == 2
    assert f"{journal}: damaged" in capsys.readouterr().err


def test_interrupted_controls_go_on_where_they_were(run, capsys, batches):
    expected = printed(capsys, run / "text", "--controls")["controls"]
    records, whole = pd.read_parquet(run / "text" / "controls.parquet"), list(batches)
    for file in (run / "text").glob("controls*"):
        file.unlink()
    batches.clear()
    batches.stop_at = len(whole) // 2
    assert main([str(run / "text"), "--controls", "--quiet"]) == 1
    capsys.readouterr()
    assert not (run / "text" / "controls.parquet").exists()
    assert printed(capsys, run / "text", "--controls")["controls"] == expected
    assert batches == whole
    pd.testing.assert_frame_equal(pd.read_parquet(run / "text" / "controls.parquet"), records)
    assert {file.name for file in (run / "text").glob("controls*")} == {"controls.parquet", "controls.json"}


def test_a_run_that_is_written_by_another_process_is_left_alone(run, capsys):
    script = (
        "import sys; from pathlib import Path; from mmadapter.storage.locks import sole_writer\n"
        "with sole_writer(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        for target in (run, run / "text"):
            assert main([str(target), "--split", "val", "--quiet"]) == 2
            assert f"{run}: process {other.pid} on " in capsys.readouterr().err
        printed(capsys, run)  # what is stored can be read all the same
        other.stdin.close()
    printed(capsys, run, "--split", "val")


def test_a_broken_image_is_left_out_for_both_variants_where_the_run_skips(run, colour_run, tmp_path, capsys):
    folder = Path(shutil.copytree(colour_run.parent / "data", tmp_path / "data"))
    broken = next((folder / "images" / "val").iterdir()) / "image.png"
    broken.write_bytes(b"no picture")
    for file in run.rglob("config.yaml"):
        file.write_text(file.read_text().replace("on_error: stop", "on_error: skip"))
    table = printed(capsys, run, "--split", "val", "--data-dir", folder)
    assert table["title"] == "scienceqa val, 1 skipped"
    for variant in VARIANTS:
        pids = pd.read_parquet(run / variant / "predictions-val.parquet")["pid"]
        assert len(pids) == 11
        assert broken.parent.name not in set(pids)


def test_broken_records_and_pictures_are_counted_and_named(run, colour_run, tmp_path, capsys):
    """Every fourth of the questions: records of every defect, pictures cut, empty, missing, or a bomb's header."""
    folder = Path(shutil.copytree(colour_run.parent / "data", tmp_path / "data"))
    problems = json.loads((folder / "problems.json").read_text())
    asked = [pid for pid, problem in problems.items() if problem["split"] == "test"]
    shown = [pid for pid in asked if problems[pid]["image"]]
    defects = {"answer": 99, "choices": [], "question": "", "grade": "grade13", "split": "exam", "hint": ["x"]}
    records = dict(zip([pid for pid in asked if pid not in shown[:4]], defects.items(), strict=False))
    for pid, (field, value) in records.items():
        problems[pid][field] = value
    (folder / "problems.json").write_text(json.dumps(problems))
    picture = (folder / "images/test" / shown[0] / "image.png").read_bytes()
    damaged = (picture[:-30], b"", None, picture[:16] + b"\0\0\xff\xff" * 2 + picture[24:])
    for pid, content in zip(shown, damaged, strict=False):
        file = folder / "images/test" / pid / "image.png"
        file.unlink() if content is None else file.write_bytes(content)
    for file in run.rglob("config.yaml"):
        file.write_text(file.read_text().replace("on_error: stop", "on_error: skip"))
    for file in run.rglob("predictions.parquet"):
        file.unlink()
    assert main([str(run), "--data-dir", str(folder), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    lost = {*records, *shown[:4]}
    assert len(lost) == 10
    assert json.loads(out)["title"] == "scienceqa test, 10 skipped"
    assert json.loads(out)["n"] == len(asked) - 10
    named = [line for line in err.splitlines() if "left out" in line]
    assert len(named) == 10
    assert all(any(f"pid {pid}: " in line for line in named) for pid in lost)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--controls", "--predictions", "a.json"], "--controls asks a model again: name its run directory"),
        (["RUN", "--split", "tset"], "no split 'tset'"),
        (["RUN", "--split", "val", "--dataset", "demo", "--data-dir", "DATA"], "keeps answers to scienceqa alone"),
        (["UNFINISHED", "--split", "val"], "its training is not finished\n  mmadapter-train --resume --output-dir"),
    ],
)
def test_what_cannot_be_answered(arguments, told, run, colour_run, tmp_path, capsys):
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished"))
    for file in unfinished.rglob("adapter*"):
        file.unlink()
    names = {"RUN": run, "UNFINISHED": unfinished, "DATA": colour_run.parent / "data"}
    assert main([str(names.get(argument, argument)) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err
    assert err.count("\n") <= 2
