"""Runs known by their settings: shared, skipped, resumed, and read into tables, figures, sentences."""

import inspect
import re
import shutil
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from eval import figures, page, results
from eval.recipes import EXHIBITS, attention, by_class, main_result
from eval.results import Results
from eval.runs import _controls, finished, read_questions, read_runs, run_key, run_name, train_missing, wanted
from eval.study import STUDIES, Study
from eval.tables import difference_of, keys_of, with_interval
from mmadapter.config.settings import RunConfig
from mmadapter.data import load_dataset
from mmadapter.experiment.asking import ask_controls
from mmadapter.runs.collect import collect
from mmadapter.runs.folder import VariantFolder
from tests.trained_runs import colour_config

COMPARED = (main_result.EXHIBIT, attention.EXHIBIT)


def test_exhibits_share_their_runs():
    study = STUDIES["tiny"]
    configs = wanted(study, EXHIBITS.values())
    assert len({run_key(config) for config in configs}) == len(configs)
    each = sum(len(exhibit.arms(study)) for exhibit in EXHIBITS.values())
    assert len(configs) < each * len(study.seeds)
    assert configs[0].seed == configs[1].seed == study.seeds[0]  # one seed of everything before the next
    assert len({run_name(config, study) for config in configs}) == len(configs)


@pytest.mark.parametrize("name", STUDIES)
def test_every_exhibit_has_arms_in_every_study(name):
    study = STUDIES[name]
    for exhibit in EXHIBITS.values():
        arms = exhibit.arms(study)
        assert len({run_key(arm.config(study, 0)) for arm in arms}) == len(arms) > 1
        for claim in exhibit.claims:
            assert arms[claim.better] is not arms[claim.worse]
    base = run_key(replace(study.base, variant="multimodal", seed=0))
    for sweep in set(EXHIBITS) - {"table2", "by_class"}:  # each has the base among its arms
        assert base in {run_key(arm.config(study, 0)) for arm in EXHIBITS[sweep].arms(study)}


def test_a_key_is_of_what_a_run_is_and_not_of_where_it_is(tmp_path):
    config = RunConfig()
    assert run_key(replace(config, output_dir=tmp_path, device="cpu")) == run_key(config)
    others = [replace(config, seed=1), replace(config, attention="rand-init"), replace(config, variant="text")]
    assert len({run_key(other) for other in [config, *others]}) == 4


@pytest.mark.parametrize("preset", ["tiny", "small"])
@pytest.mark.parametrize("name", EXHIBITS)
def test_a_recipe_opens_with_its_command_its_time_and_its_result(name, preset):
    """Recomputed from the records."""
    found, study, exhibit = Results.read(results.FOLDER / f"{preset}.json"), STUDIES[preset], EXHIBITS[name]
    text = inspect.getdoc(inspect.getmodule(exhibit.arms)) if name != "by_class" else by_class.__doc__
    keys = {key for arm in exhibit.arms(study) for key in keys_of(arm, study, found)}
    minutes = sum(found.runs[key].seconds for key in keys) / 60
    flags = {"tiny": "", "small": " --preset small --data-dir DIR"}[preset]
    (line,) = re.findall(rf"^python -m eval.paper --only {name}{flags} +#.*$", text, re.MULTILINE)
    assert f"# {len(keys)} runs, {minutes:.0f} min: " in line
    for claim in exhibit.claims[:1]:
        arms = exhibit.arms(study)
        sides = arms[claim.better], arms[claim.worse]
        gain = difference_of(*sides, study, found, "test", claim.column or study.column)
        assert with_interval(gain, signed=True) in line


def test_a_figure_is_a_whole_file_in_both_themes(tmp_path):
    found = Results.read(results.FOLDER / "tiny.json")
    for exhibit in EXHIBITS.values():
        text = figures.draw(exhibit, STUDIES["tiny"], found, tmp_path).read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "prefers-color-scheme: dark" in text
        assert "nan" not in text
        _, _, width, height = map(float, root.attrib["viewBox"].split())
        shown = "".join(root.itertext())
        assert all(arm.label in shown for arm in exhibit.arms(STUDIES["tiny"]))
        assert width / height == pytest.approx(float(root.attrib["width"]) / float(root.attrib["height"]), rel=1e-3)
    assert (tmp_path / "table2.svg").read_text() == (figures.FOLDER / "tiny" / "table2.svg").read_text()


def test_every_figure_is_on_the_page():
    drawn = {str(path.relative_to(page.ROOT)) for path in figures.FOLDER.rglob("*") if path.is_file()}
    assert drawn == set(re.findall(r"\]\((eval/figures/[^)]*)\)", page.PAGE.read_text(encoding="utf-8")))


def test_the_committed_page_is_what_the_records_give():
    assert page.page() == page.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    base = colour_config(tmp_path_factory.mktemp("colours"), epochs=2)
    return replace(STUDIES["tiny"], base=base, full={}, seeds=(0, 1), layers=(1, 3))


def test_questions_with_an_image_are_told_apart_by_how_often_training_asks_them(study):
    data = load_dataset(study.base.dataset, study.base.data_dir)
    asked = Counter(problem.question for problem in data["train"])
    for split, questions in read_questions(study).items():
        wanted = Counter(
            "more often" if times > 10 else "1 to 10 times" if times else "never"
            for times in (asked[problem.question] for problem in data[split] if problem.has_image)
        )
        prefix = "IMG, asked in training: "
        found = {name.removeprefix(prefix): int(questions.member(name).sum()) for name in questions.classes
                 if name.startswith(prefix)}  # fmt: skip
        assert found == dict(wanted)


@pytest.mark.slow
def test_from_nothing_to_a_page(study, tmp_path, monkeypatch):
    """Six runs, two of which serve both exhibits; a second call trains nothing; files and page say what was found."""
    train_missing(study, COMPARED, tmp_path, 2, quiet=True)
    have = finished(tmp_path)
    assert set(have) == {run_key(config) for config in wanted(study, COMPARED)}
    assert len(have) == 6
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    train_missing(study, COMPARED, tmp_path, 2, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written

    found = Results({}, read_questions(study), read_runs(study, EXHIBITS.values(), tmp_path))
    assert found.questions["test"].n == 41
    arms = main_result.EXHIBIT.arms(study)
    keys = keys_of(arms[0], study, found)
    assert [found.runs[key].seed for key in keys] == [0, 1]
    (metrics,) = tmp_path.glob(f"*{keys[0]}*/multimodal/metrics.json")
    shown = results.json.loads(metrics.read_text())["table"]
    assert f"{100 * found.right(keys[:1], 'test', 'IMG').mean():.2f}" in results.json.dumps(shown)

    about = {
        "command": "c",
        "date": "d",
        "commit": "e",
        "versions": {},
        "machine": {"processor": "p", "logical cores": 2},
    }
    replace(found, about=about).write(tmp_path / "tiny.json")
    monkeypatch.setitem(STUDIES, "tiny", study)
    for name, value in {"RESULTS": tmp_path, "FIGURES": tmp_path / "figures", "ROOT": tmp_path}.items():
        monkeypatch.setattr(page, name, value)
    for exhibit in EXHIBITS.values():
        drawn = figures.draw(exhibit, study, found, tmp_path / "figures" / "tiny")
        assert (drawn is not None) == (exhibit.name in ("table2", "table5", "initial_prompts", "by_class"))
        assert drawn is None or drawn.stat().st_size > 1000
    text = page.page()
    assert "zero-init minus rand-init on test Avg" in text
    assert "figures/tiny/table5.svg" in text
    assert "Table 4: inserted layers" not in text  # of its two arms one has runs
    assert "*Not run.*" in text


def test_controls_are_read_where_they_were_asked(colour_run, tmp_path):
    run = shutil.copytree(colour_run, tmp_path / "run")
    (run / "multimodal" / "controls.parquet").unlink(missing_ok=True)
    scored = collect([run], [])
    assert _controls(VariantFolder(run / "multimodal"), scored.questions) == {}
    (system,) = [system for system in scored.systems if system.name == "multimodal"]
    stored = scored.stored["multimodal"]
    found = ask_controls(system, stored, scored.questions, scored.data, quiet=True).images
    found = found.query("question_class == 'IMG'")
    bits = _controls(VariantFolder(run / "multimodal"), scored.questions)
    assert {name: right.count("1") for name, right in bits.items()} == dict(
        zip(found["condition"], found["correct"], strict=True)
    )
    assert {len(right) for right in bits.values()} == {41}
