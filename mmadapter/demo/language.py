"""Language science: Venn diagrams, stories, tone, kinds of sentences, words and tenses."""

from __future__ import annotations

from random import Random

from mmadapter.demo import words
from mmadapter.demo.family import Draft, families, fresh_seed, names, others, with_article
from mmadapter.demo.other_pictures import Venn

ZONES = {
    "only in the left circle": "left",
    "only in the right circle": "right",
    "in both circles": "both",
    "outside the circles": "outside",
}
ROOMS = words.listed("kitchen garden attic barn cellar library stable tower garage tent meadow market harbor chapel")
TONES = {
    "pleased": words.listed("delightful charming superb lovely splendid wonderful"),
    "bored": words.listed("dull slow endless tedious dreary sleepy"),
    "angry": words.listed("outrageous insulting shameful rude offensive unfair"),
    "confused": words.listed("puzzling unclear baffling muddled tangled cryptic"),
}
KINDS = ("declarative", "interrogative", "imperative", "exclamatory")
TENSES = ("past", "present", "future")
ACTIONS = {
    "paint": ("painted", "a boat"), "clean": ("cleaned", "the stove"), "plant": ("planted", "a tree"),
    "carry": ("carried", "the box"), "bake": ("baked", "some bread"), "fix": ("fixed", "the clock"),
    "visit": ("visited", "the museum"), "watch": ("watched", "the birds"), "wash": ("washed", "the dog"),
    "climb": ("climbed", "a hill"), "push": ("pushed", "the cart"), "open": ("opened", "a shop"),
}  # fmt: skip
"""Verbs with their past tense and an object."""


def _venn(rng: Random, value: str) -> Draft:
    one, other = rng.sample(tuple(words.COLORS), 2)
    first, second = names(rng, 2)
    return Draft(
        question=f"{first} compares {second} and a friend in {rng.choice(words.PLACES)}. "
        "Where does the star stand in the Venn diagram?",
        answer=value,
        others=others(rng, tuple(ZONES), value, 3),
        solution=f"The star stands {value}.",
        caption=f"A Venn diagram in {one} and {other} with a star {value}.",
        scene=Venn(ZONES[value], (one, other), fresh_seed(rng)),
    )


def _story(rng: Random, value: str) -> Draft:
    other, *absent = others(rng, ROOMS, value, 3)
    who, thing = names(rng, 1)[0], rng.choice(words.listed("lamp ring kite coat drum map purse flute scarf key"))
    verb = rng.choice(("lose", "find"))
    lost, found = (value, other) if verb == "lose" else (other, value)
    return Draft(
        hint=f"{who} lost a {thing} in the {lost}. On {rng.choice(words.DAYS)} {who} found it in the {found}.",
        question=f"Where did {who} {verb} the {thing}?",
        answer=f"in the {value}",
        others=[f"in the {place}" for place in (other, *absent)],
        solution=f"The story says that {who} {'lost' if verb == 'lose' else 'found'} the {thing} in the {value}.",
    )


def _tone(rng: Random, value: str) -> Draft:
    work = rng.choice(words.listed("play film song novel speech concert poem show"))
    return Draft(
        hint=f'{names(rng, 1)[0]} from {rng.choice(words.PLACES)} wrote: "The {work} was {rng.choice(TONES[value])}."',
        question="How did the writer feel?",
        answer=value,
        others=others(rng, tuple(TONES), value, 2),
        solution=f"The words of the review show that the writer was {value}.",
    )


def _kind(rng: Random, value: str) -> Draft:
    who, verb = names(rng, 1)[0], rng.choice(tuple(ACTIONS))
    past, thing = ACTIONS[verb]
    where = f"in {rng.choice(words.PLACES)}"
    sentence = {
        "declarative": f"{who} {past} {thing} {where}.",
        "interrogative": f"Did {who} {verb} {thing} {where}?",
        "imperative": f"{who}, please {verb} {thing} {where}.",
        "exclamatory": f"Wow, {who} {past} {thing} {where}!",
    }[value]
    return Draft(
        question=f"What kind of sentence is this? {sentence}",
        answer=value,
        others=others(rng, KINDS, value, 2),
        solution=f"The sentence is {value}.",
    )


def _tense(rng: Random, value: str) -> Draft:
    who, verb = names(rng, 1)[0], rng.choice(tuple(ACTIONS))
    past, thing = ACTIONS[verb]
    form = {"past": past, "present": f"{verb}es" if verb[-1] in "hx" else f"{verb}s", "future": f"will {verb}"}[value]
    form = form.replace("carrys", "carries")
    return Draft(
        question=f"Which tense does this sentence use? {who} {form} {thing} in {rng.choice(words.PLACES)}.",
        answer=value,
        others=others(rng, TENSES, value, 2),
        solution=f"The verb, {form}, is in the {value} tense.",
    )


def _meaning(rng: Random, value: str) -> Draft:
    kind, table = ("closest to", words.SYNONYMS) if value in words.SYNONYMS else ("opposite to", words.ANTONYMS)
    return Draft(
        question=f"Which word has a meaning {kind} {value}?",
        answer=table[value],
        others=others(rng, tuple(table.values()), table[value], 3),
        solution=f"{table[value].capitalize()} has a meaning {kind} {value}.",
    )


SPEECH_OF = {word: kind for kind, group in words.SPEECH.items() for word in group}


def _speech(rng: Random, value: str) -> Draft:
    kind = SPEECH_OF[value]
    return Draft(
        question=f"Which of these words is {with_article(kind)}?",
        answer=value,
        others=rng.sample([word for word, other in SPEECH_OF.items() if other != kind], 3),
        solution=f"{value.capitalize()} is {with_article(kind)}.",
    )


FAMILIES = families(
    {
        "venn diagram": (_venn, tuple(ZONES)),
        "story details": (_story, tuple(ROOMS)),
        "tone": (_tone, tuple(TONES)),
        "kinds of sentences": (_kind, KINDS),
        "tenses": (_tense, TENSES),
        "word meanings": (_meaning, (*words.SYNONYMS, *words.ANTONYMS)),
        "parts of speech": (_speech, tuple(SPEECH_OF)),
    }
)
