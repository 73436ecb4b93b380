"""Scoring: questions a second of mmadapter, other ways to an answer, and the limit.

    python -m benchmarks.score --size small --vocabulary 32000 --answer letter

`letter` compares "The answer is (A" to "(E", `text` the options' texts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.measure import OURS, Table, comparison, fastest, publish
from benchmarks.scorers import LETTERS_ONLY, SCORING
from benchmarks.workload import Settings, backbone, questions
from mmadapter.cli.options import program


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(Settings):
    answer: Literal["letter", "text"] = "letter"
    """Answer by the paper's letters, or by option texts."""

    @property
    def tag(self) -> str:
        return f"{super().tag}-{self.answer}"


def main(settings: ScoreSettings) -> None:
    """Publish the table."""
    model = backbone(settings)
    asked, source = questions(settings, settings.answer)
    left_out = () if settings.answer == "letter" else LETTERS_ONLY
    left_out += () if settings.compile else ("mmadapter, compiled",)
    contenders = {name: contender for name, contender in SCORING.items() if name not in left_out}
    spent = settings.spent({name: contender.build(settings, model, asked) for name, contender in contenders.items()})
    rows = comparison(spent, "questions/s", len(asked), contenders)
    workload = {
        "lengths": source,
        "questions": len(asked),
        "options a question": sum(len(question.options) for question in asked) / len(asked),
        "rounds": len(spent[OURS]),
        "the limit": fastest(spent, "limit"),
    }
    title = f"scoring {settings.answer}s, {settings.size}, vocabulary {settings.vocabulary:,}"
    publish("score", settings, workload, [Table(title, rows)])


if __name__ == "__main__":
    program(main, ScoreSettings)
