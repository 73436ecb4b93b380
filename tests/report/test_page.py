"""The page as a file: complete, closed to the network, escaped, accessible."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from mmadapter.cli.eval import main
from mmadapter.errors import UserError
from mmadapter.evaluation.accuracy import accuracy_by_class
from mmadapter.evaluation.frame import answer_frame
from mmadapter.report.page import report_html, write_report
from tests.report.conftest import HOSTILE, N, only

VOID = {"meta", "input", "img", "col", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and the text of each style and script; complains of what does not nest."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"style": [], "script": []}
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.raw[tag].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]][-1] += data
        else:
            self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]

    @property
    def data(self) -> dict:
        return json.loads(self.raw["script"][0])


@pytest.fixture(scope="module")
def parsed(page) -> Page:
    return Page(page)


def test_nothing_is_loaded_from_anywhere(parsed):
    for _, attributes in parsed.elements:
        for name in ("src", "href", "action", "srcset", "xlink:href", "data"):
            assert (attributes.get(name) or "#").startswith("#"), attributes
    assert not re.search(r"@import|url\(", parsed.raw["style"][0])


def test_the_policy_allows_this_style_this_script_and_embedded_pictures_alone(parsed):
    policy = next(m["content"] for m in parsed.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    (style,), script = parsed.raw["style"], parsed.raw["script"][-1]
    digest = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest[0]}'; script-src 'sha256-{digest[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not [attributes for _, attributes in parsed.elements if "style" in attributes]  # it would not apply
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]


def test_hostile_texts_stay_texts(parsed, case, page):
    assert len(parsed.all("script")) == 3
    assert not re.search(r"window\.broken = 1</script>", page)
    assert {tag for tag, _ in parsed.elements}.isdisjoint({"b<b>", "iframe", "object", "embed", "base", "link"})
    assert not parsed.all("b")[0].keys()
    questions = parsed.data["questions"]
    assert [q["question"] for q in questions] == [p.question for p in case.scored.data]
    assert HOSTILE[1] in questions[1]["question"]
    assert "theirs<b>" in parsed.data["systems"]
    assert any("theirs<b>" in text for text in parsed.text)


def test_table_1_has_the_numbers_of_every_system(parsed, case, page):
    text = " ".join(parsed.text)
    for system in case.scored.systems:
        frame = case.scored.questions.join(answer_frame(system.frame, case.scored.questions))
        for accuracy in accuracy_by_class(frame)["accuracy"]:
            assert f"{accuracy:.2f}" in text
    assert "85.19" in text  # LLaMA-Adapter, published
    assert "variant: multimodal" in text


def test_the_questions_carry_what_each_system_said(parsed, case):
    multimodal = case.scored.systems[0].frame.set_index("pid")
    questions = {q["pid"]: q for q in parsed.data["questions"]}
    assert len(questions) == N
    for pid, question in questions.items():
        prediction, probabilities, unparsed, output = question["systems"][0]
        assert prediction == multimodal.loc[pid, "prediction"]
        assert probabilities == pytest.approx(multimodal.loc[pid, "probabilities"], abs=1e-4)
        assert unparsed is None
        assert output is None
        assert question["choices"] == case.asked[pid]["choices"]
        assert question["answer"] == case.asked[pid]["answer"]
        assert parsed.data["lectures"][question["lecture"]] == case.asked[pid]["lecture"]
        assert question["text"] is bool(case.asked[pid]["hint"])
        assert ("image" in question) is bool(case.asked[pid]["image"])
    theirs = questions["104"]["systems"][2]  # says E of two to five options
    assert theirs[3].startswith("The answer is (E).")
    assert (theirs[0] is None) is (len(case.asked["104"]["choices"]) < 5)
    assert len(parsed.data["lectures"]) == 2


def test_pictures_are_stored_once_and_a_broken_one_says_why(parsed):
    pictures = parsed.raw["script"][1].split("\n")
    with_picture = [q for q in parsed.data["questions"] if "image" in q]
    shown = [q["image"] for q in with_picture if q["image"] >= 0]
    assert shown[0] == shown[1]
    assert len(set(shown)) == len(shown) - 1
    assert base64.b64decode(pictures[shown[0]].split(" ")[1])[8:12] == b"WEBP"
    (broken,) = (q for q in with_picture if q["image"] < 0)
    assert "not a readable image" in broken["broken"]


def test_everything_seen_is_told_too(parsed):
    for attributes in parsed.all("svg"):
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])
    assert all("scope" in attributes for attributes in parsed.all("th"))
    labelled = {attributes["for"] for attributes in parsed.all("label")}
    for attributes in parsed.all("input", "select"):
        assert attributes["id"] in labelled
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"].removeprefix("#") for a in parsed.all("a")}
    targets |= {attributes["aria-labelledby"] for _, attributes in parsed.elements if "aria-labelledby" in attributes}
    assert targets <= set(ids)
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_contrast_is_AA(parsed, theme):
    """WCAG 2.2: 4.5 for text, 3 for what is drawn."""
    blocks = re.findall(r":root \{(.*?)\}", parsed.raw["style"][0], re.DOTALL)
    colours = dict(re.findall(r"--(\w[\w-]*): (#\w{6})", "".join(blocks[theme::2])))  # figures.css, then style.css
    for text in ("ink", "soft", "link", "right", "wrong"):
        assert contrast(colours[text], colours["paper"]) >= 4.5, text
        assert contrast(colours[text], colours["panel"]) >= 4.5, text
    assert contrast(colours["right"], colours["right-paper"]) >= 4.5
    assert contrast(colours["ink"], colours["right-paper"]) >= 4.5
    for drawn in ("c0", "c1", "c2", "c3", "c4", "c5", "negative"):
        assert contrast(colours[drawn], colours["paper"]) >= 3, drawn


def test_sections_are_there_where_there_is_something_to_show(page, case):
    sections = ["results", "pairs", "training", "attention", "calibration", "questions"]
    assert re.findall(r'<section id="(\w+)"', page) == sections
    theirs = report_html(only(case.scored, "theirs<b>"))
    assert re.findall(r'<section id="(\w+)"', theirs) == ["results", "pairs", "questions"]
    assert "Paired difference" not in theirs


def test_half_a_surrogate_pair_is_no_reason_to_fail(case):
    data = case.scored.data
    problems = {pid: replace(problem, solution="half \ud83d a pair") for pid, problem in data.problems.items()}
    html = report_html(replace(case.scored, data=replace(data, problems=problems)))
    assert "half ? a pair" in html


def test_the_command_writes_it_beside_its_table(case, tmp_path, capsys):
    file = tmp_path / "new" / "report.html"
    assert main([str(case.run), "--predictions", str(case.file), "--report", str(file), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["n"] == N
    assert err == ""
    assert Page(file.read_text(encoding="utf-8")).data["systems"] == ["multimodal", "text", "theirs<b>"]


def test_a_folder_is_no_file_to_write(case, tmp_path):
    with pytest.raises(UserError, match="is a folder"):
        write_report(case.scored, tmp_path)
