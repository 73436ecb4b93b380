"""Language science: Venn diagrams, stories, tone, kinds of sentences, words and tenses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from eval.demo.drawing import INK, Pen, Scene, ring
from eval.demo.family import Draft, DraftFunction, others, with_article
from eval.demo.words import ACTIONS, ANTONYMS, COLORS, DAYS, NAMES, PLACES, ROOMS, SPEECH, SYNONYMS, TONES

ZONES = {
    "only in the left circle": "left",
    "only in the right circle": "right",
    "in both circles": "both",
    "outside the circles": "outside",
}
KINDS = ("declarative", "interrogative", "imperative", "exclamatory")
TENSES = ("past", "present", "future")


@dataclass(frozen=True)
class Venn(Scene):
    """Two circles that overlap, and a star."""

    zone: str
    """Zone of the star: left, right, both or outside."""
    colors: tuple[str, str]

    def paint(self, pen: Pen, rng: Random) -> None:
        x, y, radius = rng.uniform(62, 66), rng.uniform(62, 78), rng.uniform(33, 36)
        offset = radius * 0.62
        for side, color in zip((-1, 1), self.colors, strict=True):
            pen.dot(x + side * offset, y, radius, _pale(COLORS[color]), None)
        lens = math.acos(offset / radius)  # half the angle under which a circle sees the overlap
        angles = [-lens + 2 * lens * i / 20 for i in range(21)]
        right = [(x - offset + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
        left = [(x + offset - radius * math.cos(a), y - radius * math.sin(a)) for a in angles]
        pen.polygon(right + left, "#e8e0e8", None)
        for side in (-1, 1):
            pen.ellipse(x + side * offset, y, radius, radius, None)
        sx, sy = {
            "left": (x - 1.05 * radius, y),
            "right": (x + 1.05 * radius, y),
            "both": (x, y),
            "outside": (rng.uniform(20, 108), 13),
        }[self.zone]
        pen.polygon(ring(sx, sy + rng.uniform(-4, 4), [8 if i % 2 == 0 else 3.3 for i in range(10)], -math.pi / 2), INK)


def _pale(color: str) -> str:
    return "#" + "".join(f"{(int(color[i : i + 2], 16) + 2 * 255) // 3:02x}" for i in (1, 3, 5))


def _venn(rng: Random, value: str) -> Draft:
    one, other = rng.sample(tuple(COLORS), 2)
    first, second = rng.sample(NAMES, 2)
    return Draft(
        question=f"{first} compares {second} and a friend in {rng.choice(PLACES)}. "
        "Where does the star stand in the Venn diagram?",
        solution=f"The star stands {value}.",
        caption=f"A Venn diagram in {one} and {other} with a star {value}.",
        scene=Venn(ZONES[value], (one, other)),
    )


def _story(rng: Random, value: str) -> Draft:
    other, *absent = others(rng, ROOMS, value, 3)
    who = rng.choice(NAMES)
    thing = rng.choice(("lamp", "ring", "kite", "coat", "drum", "map", "purse", "flute", "scarf", "key"))
    verb = rng.choice(("lose", "find"))
    lost, found = (value, other) if verb == "lose" else (other, value)
    return Draft(
        hint=f"{who} lost a {thing} in the {lost}. On {rng.choice(DAYS)} {who} found it in the {found}.",
        question=f"Where did {who} {verb} the {thing}?",
        answer=f"in the {value}",
        others=[f"in the {place}" for place in (other, *absent)],
        solution=f"The story says that {who} {'lost' if verb == 'lose' else 'found'} the {thing} in the {value}.",
    )


def _tone(rng: Random, value: str) -> Draft:
    work = rng.choice(("play", "film", "song", "novel", "speech", "concert", "poem", "show"))
    return Draft(
        hint=f'{rng.choice(NAMES)} from {rng.choice(PLACES)} wrote: "The {work} was {rng.choice(TONES[value])}."',
        question="How did the writer feel?",
        solution=f"The words of the review show that the writer was {value}.",
    )


def _kind(rng: Random, value: str) -> Draft:
    who, verb = rng.choice(NAMES), rng.choice(tuple(ACTIONS))
    past, thing = ACTIONS[verb]
    where = f"in {rng.choice(PLACES)}"
    sentence = {
        "declarative": f"{who} {past} {thing} {where}.",
        "interrogative": f"Did {who} {verb} {thing} {where}?",
        "imperative": f"{who}, please {verb} {thing} {where}.",
        "exclamatory": f"Wow, {who} {past} {thing} {where}!",
    }[value]
    return Draft(question=f"What kind of sentence is this? {sentence}", solution=f"The sentence is {value}.")


def _tense(rng: Random, value: str) -> Draft:
    who, verb = rng.choice(NAMES), rng.choice(tuple(ACTIONS))
    past, thing = ACTIONS[verb]
    form = {"past": past, "present": f"{verb}es" if verb[-1] in "hx" else f"{verb}s", "future": f"will {verb}"}[value]
    form = form.replace("carrys", "carries")
    return Draft(
        question=f"Which tense does this sentence use? {who} {form} {thing} in {rng.choice(PLACES)}.",
        solution=f"The verb, {form}, is in the {value} tense.",
    )


def _meaning(rng: Random, value: str) -> Draft:
    kind, table = ("closest to", SYNONYMS) if value in SYNONYMS else ("opposite to", ANTONYMS)
    return Draft(
        question=f"Which word has a meaning {kind} {value}?",
        answer=table[value],
        others=others(rng, table.values(), table[value], 3),
        solution=f"{table[value].capitalize()} has a meaning {kind} {value}.",
    )


def _speech(rng: Random, value: str) -> Draft:
    kind = SPEECH[value]
    return Draft(
        question=f"Which of these words is {with_article(kind)}?",
        others=rng.sample([word for word, other in SPEECH.items() if other != kind], 3),
        solution=f"{value.capitalize()} is {with_article(kind)}.",
    )


DRAFTS: dict[str, tuple[DraftFunction, Sequence[str]]] = {
    "venn diagram": (_venn, tuple(ZONES)),
    "story details": (_story, ROOMS),
    "tone": (_tone, tuple(TONES)),
    "kinds of sentences": (_kind, KINDS),
    "tenses": (_tense, TENSES),
    "word meanings": (_meaning, (*SYNONYMS, *ANTONYMS)),
    "parts of speech": (_speech, tuple(SPEECH)),
}
"""Function and values of each family, by its name in `families.csv`."""
