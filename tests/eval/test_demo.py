"""The demo data set: reproducible, balanced, without leaks, and blind without its pictures."""

import hashlib
import json
import math
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from eval.demo import FAMILIES, FARTHEST_NORTH, demo_problems, draw, sample_problem, write_demo
from eval.demo.family import Draft
from mmadapter.data import load_dataset, unpack_demo

SMALL = {"train": 60, "val": 20, "test": 40}


@pytest.fixture(scope="module")
def splits():
    return demo_problems()


@pytest.fixture(scope="module")
def everything(splits):
    return [problem for problems in splits.values() for problem in problems]


def test_default_sizes_and_contexts(splits):
    assert {name: len(problems) for name, problems in splits.items()} == {"train": 3000, "val": 500, "test": 1000}
    for problems in splits.values():
        share = {c: sum(p.family.context == c for p in problems) / len(problems) for c in ("image", "text", "none")}
        assert 0.44 < share["image"] < 0.50
        assert 0.29 < share["text"] < 0.34
        assert 0.19 < share["none"] < 0.26
        both = sum(p.family.context == "image" and p.hint != "" for p in problems)
        assert 0.02 < both / len(problems) < 0.08  # TXT and IMG overlap
        assert {p.grade for p in problems} == set(range(1, 13))
        assert len({p.family.subject for p in problems}) == 3


def test_no_problem_stands_twice(everything):
    assert len({p.key for p in everything}) == len(everything)


def test_every_problem_is_well_formed(everything):
    for p in everything:
        assert len(set(p.choices)) == len(p.choices) == p.family.n_choices
        assert (p.scene is None) == (p.caption is None) == (p.family.context != "image")
        assert p.hint or p.family.context != "text"
        assert not p.hint or p.family.context != "none"


def test_positions_and_values_are_balanced_to_one(splits):
    for problems in splits.values():
        for family in FAMILIES:
            mine = [p for p in problems if p.family is family]
            positions = Counter(p.answer for p in mine)
            assert max(positions.values()) - min(positions[i] for i in range(family.n_choices)) <= 1
            if family.context == "image":
                values = Counter(p.choices[p.answer] for p in mine)
                assert max(values.values()) - min(values[v] for v in family.values) <= 1


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.context == "image"], ids=lambda f: f.name)
def test_words_alone_tell_nothing_about_a_picture(family):
    """A naive Bayes learner on the question's words, the hint's and each option's stays at chance."""
    rng = Random(7)
    train, test = ([sample_problem(rng, family) for _ in range(n)] for n in (800, 1000))
    right, seen = Counter(), Counter()

    def clues(problem, option):
        words = [*problem.question.split(), *problem.hint.split(), "|".join(sorted(problem.choices))]
        position = problem.choices.index(option)
        return [(w, option) for w in words] + [("position", position), ("option", option)]

    for p in train:
        for i, option in enumerate(p.choices):
            for clue in clues(p, option):
                seen[clue] += 1
                right[clue] += i == p.answer

    def score(problem, option):
        prior = 1 / family.n_choices
        return sum(math.log((right[c] + 5 * prior) / (seen[c] + 5)) for c in clues(problem, option))

    hits = sum(max(p.choices, key=lambda o, p=p: score(p, o)) == p.choices[p.answer] for p in test)
    chance = 1 / family.n_choices
    assert abs(hits / len(test) - chance) < 4 * math.sqrt(chance * (1 - chance) / len(test))


def test_the_same_learner_reads_what_words_do_tell():
    """Guards the test above: on hints and captions a count of shared words is far above chance."""
    rng = Random(7)
    problems = [sample_problem(rng, f) for f in FAMILIES if f.name in ("thermometer", "provinces") for _ in range(200)]

    def shared(problem, option):
        return len(set(option.split()) & set(problem.caption.rstrip(".").split()))

    hits = sum(max(p.choices, key=lambda o, p=p: shared(p, o)) == p.choices[p.answer] for p in problems)
    assert hits / len(problems) > 0.95


def test_pictures_show_what_captions_say():
    """Numbers that can be read off a scene, against the caption's and the answer's."""
    rng, families = Random(3), {f.name: f for f in FAMILIES}
    for _ in range(300):
        p = sample_problem(rng, families["punnett square"])
        cells = [upper + lower for upper in p.scene.parents[0] for lower in p.scene.parents[1]]
        boxes = sum((cell != cell.lower()) == (p.scene.shown == "dominant") for cell in cells)
        assert p.choices[p.answer] == f"{boxes}/4"
        p = sample_problem(rng, families["rainfall"])
        months = families["rainfall"].values
        assert p.choices[p.answer] == months[p.scene.millimeters.index(max(p.scene.millimeters))]
        p = sample_problem(rng, families["solutions"])
        a, b = p.scene.particles
        expected = "solution A" if a > b else "solution B" if b > a else "neither; they are the same"
        assert p.choices[p.answer] == expected
        p = sample_problem(rng, families["magnets"])
        assert p.choices[p.answer] == ("repel" if p.scene.poles[0] == p.scene.poles[1] else "attract")
        p = sample_problem(rng, FARTHEST_NORTH)
        northernmost = min(p.scene.towns, key=lambda town: town[2])
        assert p.choices[p.answer] == f"the {northernmost[0]} town"
        assert all(8 < x < 120 and 8 < y < 120 for _, x, y in p.scene.towns)


def test_thermometer_column_ends_at_its_reading():
    family = next(f for f in FAMILIES if f.name == "thermometer")
    rng = Random(5)
    heights = {}
    for value in family.values:
        p = sample_problem(rng, family, value=value)
        picture = draw(p.scene)
        rows = [
            sum(max(picture.getpixel((x, y))) - min(picture.getpixel((x, y))) > 80 for x in range(128)) > 3
            for y in range(128)
        ]
        heights[value] = sum(rows)
    assert sorted(set(heights.values())) == list(heights.values())


def test_drawing_is_a_function_of_the_scene():
    rng = Random(11)
    for family in FAMILIES:
        if family.context == "image":
            scene = sample_problem(rng, family).scene
            picture = draw(scene)
            assert picture.size == (128, 128)
            assert picture.tobytes() == draw(scene).tobytes()
            assert picture.tobytes() != draw(sample_problem(rng, family).scene).tobytes()


def test_same_seed_same_bytes(tmp_path):
    def digests(folder):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    first = digests(write_demo(tmp_path / "a", seed=4, sizes=SMALL))
    assert first == digests(write_demo(tmp_path / "b", seed=4, sizes=SMALL))
    assert first != digests(write_demo(tmp_path / "b", seed=5, sizes=SMALL))  # replaces the folder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    pictures = [digest for name, digest in first.items() if name.endswith(".png")]
    assert len(set(pictures)) == len(pictures)


def test_the_ordinary_reader_reads_it(tmp_path):
    write_demo(tmp_path / "demo", seed=2, sizes=SMALL)
    records = json.loads((tmp_path / "demo" / "problems.json").read_text())
    assert all(len(record) == 14 for record in records.values())
    data = load_dataset("scienceqa", tmp_path / "demo")
    expected = demo_problems(2, SMALL)
    for split, size in SMALL.items():
        read = list(data[split])
        assert len(read) == size
        for problem, source in zip(read, expected[split], strict=True):
            assert (problem.question, problem.choices, problem.answer) == (
                source.question,
                source.choices,
                source.answer,
            )
            assert (problem.hint, problem.caption, problem.grade) == (source.hint, source.caption, source.grade)
            assert problem.has_image == (source.scene is not None)
            if problem.has_image:
                assert problem.image.read().startswith(b"\x89PNG")


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def broken(scene):
        raise KeyboardInterrupt

    monkeypatch.setattr("eval.demo.generate.draw", broken)
    with pytest.raises(KeyboardInterrupt):
        write_demo(tmp_path / "demo", sizes=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_too_small_a_problem_space_is_an_error():
    draft = Draft(question="Which?", answer="this", others=("that",), solution="")
    family = replace(FAMILIES[0], name="poor", context="none", draft=lambda rng, value: draft)
    with pytest.raises(ValueError, match=r"'poor' has too few"):
        demo_problems(0, {"train": 1, "val": 1}, [family])


def test_families_are_told_apart_by_their_skill():
    by_skill = defaultdict(set)
    for family in FAMILIES:
        by_skill[family.skill].add(family.name)
    assert all(len(names) == 1 for names in by_skill.values())
    assert FARTHEST_NORTH.skill == "Read a map: farthest north"


def test_the_package_ships_what_the_generator_writes(tmp_path):
    write_demo(tmp_path / "generated")
    unpack_demo(tmp_path / "shipped")
    files = {path.relative_to(tmp_path / "generated") for path in (tmp_path / "generated").rglob("*") if path.is_file()}
    shipped = {path.relative_to(tmp_path / "shipped") for path in (tmp_path / "shipped").rglob("*") if path.is_file()}
    assert shipped - files == {Path("instructions.json")}
    for file in files:
        own, generated = (tmp_path / name / file for name in ("shipped", "generated"))
        if file.suffix == ".png":  # the same pixels with any version of Pillow
            with Image.open(own) as one, Image.open(generated) as other:
                assert one.tobytes() == other.tobytes()
        else:
            assert own.read_bytes() == generated.read_bytes()
