"""Scoring: questions a second of mmadapter, other ways to an answer, and the limit.

    python -m benchmarks.score --size small --vocabulary 32000 --answer letter

`letter` compares "The answer is (A" to E, `text` the options' own texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.measure import Table, alternate, fastest, publish, rates, ratios
from benchmarks.scorers import LETTERS_ONLY, SCORING
from benchmarks.workload import Settings, backbone, questions
from mmadapter.cli.options import program


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(Settings):
    answer: Literal["letter", "text"] = "letter"
    """The paper's letters, or option texts."""

    @property
    def tag(self) -> str:
        return f"{super().tag}-{self.answer}"


def main(settings: ScoreSettings) -> None:
    """The table."""
    model = backbone(settings)
    asked, source = questions(settings, settings.answer)
    left_out = () if settings.answer == "letter" else LETTERS_ONLY
    left_out += () if settings.compile else ("mmadapter, compiled",)
    builders = {name: build for name, build in SCORING.items() if name not in left_out}
    spent = alternate(
        {name: build(settings, model, asked) for name, build in builders.items()},
        rounds=settings.rounds,
        seconds=settings.seconds,
        synchronise=settings.synchronise,
    )
    limit, ours = fastest(spent, "limit"), "mmadapter, text-only"
    rows = [
        {
            "contender": name,
            "questions/s": rates(len(asked), seconds),
            "time over the limit's": ratios(seconds, spent[limit]),
            "time over ours": ratios(seconds, spent[ours]),
            "what": builders[name].__doc__.splitlines()[0],
        }
        for name, seconds in spent.items()
    ]
    workload = {
        "lengths": source,
        "questions": len(asked),
        "options a question": sum(len(question.options) for question in asked) / len(asked),
        "rounds": len(spent[ours]),
        "the limit": limit,
    }
    title = f"scoring {settings.answer}s, {settings.size}, vocabulary {settings.vocabulary:,}"
    publish("score", settings, workload, [Table(title, rows)])


if __name__ == "__main__":
    program(main, ScoreSettings)
