"""Baselines against loops over plain lists, scikit-learn, and answers done by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from mmadapter.evaluation.accuracy import accuracy_by_class, question_classes
from mmadapter.evaluation.baselines import (
    CHANCE,
    FREQUENT,
    NEAREST,
    NEAREST_FEATURES,
    PENALTIES,
    PRIOR,
    READ_OUT,
    Options,
    baselines,
    credit_by_class,
    nearness,
    read_out,
)


def frame(rows, first=0):
    """Of (question, choices, answer)."""
    index = pd.Index([str(first + i) for i in range(len(rows))], dtype="string", name="pid")
    questions, choices, answers = zip(*rows, strict=True)
    return pd.DataFrame(
        {"question": pd.array(questions, dtype="string"), "answer": pd.array(answers, dtype="Int64")}, index=index
    ).assign(choices=pd.Series([list(each) for each in choices], index=index))


def pictures(vectors):
    """By pid."""
    return pd.DataFrame(list(vectors.values()), index=pd.Index(list(vectors), dtype="string"), dtype=float)


TRAIN = [
    ("Which?", ("red", "blue"), 0),
    ("Which?", ("red", "blue"), 0),
    ("Which?", ("red", "green"), 1),
    ("Other?", ("blue", "pink"), 0),
    ("Other?", ("blue", "pink"), 0),
    ("Other?", ("blue", "pink"), 0),
]
ASKED = [
    ("Which?", ("red", "blue"), 0),
    ("Which  ?", ("red", "blue", "grey"), 1),
    ("Which?", ("blue", "green", "black"), 1),
    ("Which?", ("blue", "black"), 1),
    ("Other?", ("pink", "black"), 0),
]


def test_by_hand():
    found = baselines(frame(ASKED, 100), frame(TRAIN))
    assert list(found.columns) == [CHANCE, FREQUENT, PRIOR]
    assert found[CHANCE].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 3, 1 / 2, 1 / 2])
    # right in training: blue 3, red 2, green 1, pink 0
    assert found[FREQUENT].tolist() == [0, 1, 0, 1 - 1, 0.5]
    # red (2 + 1/2) / (3 + 1) against blue (1/2) / (2 + 1); a new wording; green (1 + 1/3) / 2; blue 1/6 against black
    # 1/2; pink (1/2) / 4 against black 1/2
    assert found[PRIOR].tolist() == pytest.approx([1, 1 / 3, 1, 1, 0])


texts = st.sampled_from(["a", "b", "c", "d", "e"])
problems = st.lists(
    st.tuples(
        st.sampled_from(["p", "q", "r"]), st.lists(texts, min_size=1, max_size=5, unique=True), st.integers(0, 4)
    ),
    min_size=1,
    max_size=19,
).map(lambda rows: [(question, choices, answer % len(choices)) for question, choices, answer in rows])


@settings(max_examples=40)
@given(problems, problems)
def test_matches_loops(asked, train):
    found = baselines(frame(asked, 100), frame(train))
    for (question, choices, answer), row in zip(asked, found.to_numpy(), strict=True):
        same = [(c, a) for q, c, a in train if q == question]
        often = [sum(c[a] == text for _, c, a in train) for text in choices]
        prior = [
            (sum(c[a] == text for c, a in same) + 1 / len(choices)) / (sum(text in c for c, _ in same) + 1)
            for text in choices
        ]
        expected = [1 / len(choices)]
        for scores in (often, prior):
            best = [i for i, score in enumerate(scores) if score >= max(scores) - 1e-12]
            expected.append((answer in best) / len(best))
        assert row == pytest.approx(expected)


@settings(max_examples=25)
@given(problems, problems, st.randoms(use_true_random=False))
def test_neither_the_order_of_options_nor_of_training_matters(asked, train, rng):
    turned = []
    for question, choices, answer in asked:
        order = rng.sample(range(len(choices)), len(choices))
        turned.append((question, [choices[i] for i in order], order.index(answer)))
    mixed = rng.sample(train, len(train))
    pd.testing.assert_frame_equal(baselines(frame(asked), frame(train)), baselines(frame(turned), frame(mixed)))


@settings(max_examples=10)
@given(problems)
def test_credit_is_shared_among_the_options(asked):
    """Each option as the right one in turn: the credits add up to 1."""
    options = Options.of(frame(asked))
    scores = np.random.default_rng(0).integers(3, size=len(options.text)).astype(float)
    for i, (question, choices, _) in enumerate(asked):
        own = scores[options.question == i]
        credit = [Options.of(frame([(question, choices, a)])).credit(own)["0"] for a in range(len(choices))]
        assert sum(credit) == pytest.approx(1)


def test_a_later_score_decides_among_the_best_alone():
    options = Options.of(frame([("q", ("a", "b", "c"), 1)]))
    assert options.credit(np.array([1.0, 1, 0]), np.array([0.0, 0, 9]))["0"] == 0.5
    assert options.credit(np.array([1.0, 1, 0]), np.array([0.0, 1, 9]))["0"] == 1


def picture_questions(seed, n, vectors):
    rng = np.random.default_rng(seed)
    rows, seen = [], {}
    for i in range(n):
        choices = list(rng.permutation(["left", "right", "up"])[: rng.integers(2, 4)])
        vector = rng.normal(size=vectors)
        scores = {"left": vector[0], "right": vector[1], "up": vector[2]}
        rows.append(("Where?", choices, int(np.argmax([scores[text] for text in choices]))))
        seen[f"{i + 1000 * seed}"] = vector
    return frame(rows, 1000 * seed), seen


def test_nearest_picture_is_scikit_learns_neighbour():
    """Of all texts; where all three are offered it is the plain nearest neighbour."""
    (train, seen), (asked, shown) = picture_questions(1, 67, 5), picture_questions(2, 31, 5)
    vectors = pictures(seen | shown)
    right = [choices[answer] for choices, answer in zip(train["choices"], train["answer"], strict=True)]
    answered = list(zip(train.index, right, strict=True))
    model = KNeighborsClassifier(1).fit(vectors.loc[train.index], right)
    found = baselines(asked, train, pixels=vectors)[NEAREST]
    for pid, predicted in zip(asked.index, model.predict(vectors.loc[asked.index]), strict=True):
        choices, answer = asked.loc[pid, ["choices", "answer"]]
        if len(choices) == 3:
            assert found[pid] == (choices[answer] == predicted)
        else:
            distance = {
                text: min(np.linalg.norm(vectors.loc[pid] - vectors.loc[p]) for p, r in answered if r == text)
                for text in choices
            }
            assert found[pid] == (min(distance, key=distance.get) == choices[answer])


def test_read_out_is_scikit_learns_ridge():
    (train, seen), (asked, shown) = picture_questions(1, 67, 5), picture_questions(2, 31, 5)
    vectors = pictures(seen | shown)
    options = Options.of(asked)
    texts = ["left", "right", "up"]
    wanted = np.array(
        [
            [0 if text not in c else 1 if c[a] == text else -1 for text in texts]
            for c, a in zip(train["choices"], train["answer"], strict=True)
        ]
    )
    scaler = StandardScaler().fit(vectors.loc[train.index])
    model = RidgeCV(PENALTIES).fit(scaler.transform(vectors.loc[train.index]), wanted)
    scores = model.predict(scaler.transform(vectors.loc[asked.index]))
    expected = [scores[q, texts.index(text)] for q, text in zip(options.question, options.text, strict=True)]
    assert read_out(options, Options.of(train), vectors) == pytest.approx(np.array(expected))
    assert baselines(asked, train, features=vectors)[READ_OUT].mean() > 0.6


def test_where_pictures_say_nothing_the_wording_prior_answers():
    asked, train = frame(ASKED, 100), frame(TRAIN)
    vectors = pictures({"3": [0.0], "4": [1.0], "100": [0.0]})  # no training picture of the wording of 100
    found = baselines(asked, train, pixels=vectors, features=vectors)
    for name in (NEAREST, NEAREST_FEATURES, READ_OUT):
        pd.testing.assert_series_equal(found[name], found[PRIOR], check_names=False)
    options, seen = Options.of(asked), Options.of(train)
    assert np.isneginf(nearness(options, seen, vectors)).all()
    assert np.isneginf(read_out(options, seen, vectors)).all()


def test_a_wording_that_is_rare_has_no_read_out():
    (train, seen), (asked, shown) = picture_questions(1, 13, 5), picture_questions(2, 7, 5)
    options, known, vectors = Options.of(asked), Options.of(train), pictures(seen | shown)
    assert np.isneginf(read_out(options, known, vectors, least=14)).all()
    assert np.isfinite(read_out(options, known, vectors, least=13)).all()


@settings(max_examples=25)
@given(st.lists(st.booleans(), min_size=53, max_size=53))
def test_credit_of_whole_answers_is_accuracy(asked, outcomes):
    scored = asked.assign(correct=pd.array(outcomes, dtype="boolean"))
    classes = question_classes(asked)
    theirs = accuracy_by_class(scored, classes)
    ours = credit_by_class(scored["correct"].astype(float), classes)
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False)
