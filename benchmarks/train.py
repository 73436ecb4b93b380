"""Training: real tokens a second of mmadapter, its peers and the limit.

    python -m benchmarks.train --size small --vocabulary 32000

All contenders train on the same questions with the same frozen weights, in alternation. Only tokens that a training has
to read count as real: padding and the logits of prompts do not.
"""

from __future__ import annotations

from benchmarks.measure import OURS, Table, comparison, fastest, publish, rates
from benchmarks.trainers import LEARNING_RATE, possible
from benchmarks.workload import Settings, backbone, questions, real_tokens
from mmadapter.cli.options import program

SCIENCEQA_QUESTIONS, SCIENCEQA_EPOCHS = 12_726, 30
ALPACA_TOKENS, ALPACA_EPOCHS = 52_002 * 120, 5
"""120 tokens an example: the hub's table has 918 bytes for each, the text twice and the template once."""


def main(settings: Settings) -> None:
    """Publish the table, and on a GPU the projected hours of the paper's two trainings."""
    model = backbone(settings)
    asked, source = questions(settings)
    contenders = possible(settings)
    epochs = {name: one.build(settings, model, asked, LEARNING_RATE).epoch for name, one in contenders.items()}
    spent = settings.spent(epochs)
    tokens = real_tokens(asked)
    rows = comparison(spent, "real tokens/s", tokens, contenders)
    tables = [Table(f"training, {settings.size}, vocabulary {settings.vocabulary:,}", rows)]
    if settings.device.startswith("cuda"):
        speeds = {name: rates(tokens, seconds).median for name, seconds in spent.items()}
        hours = [{"contender": n, **projected_hours(speed, tokens / len(asked))} for n, speed in speeds.items()]
        tables.append(Table("projected from the tokens/s above", hours))
    workload = {
        "lengths": source,
        "questions": len(asked),
        "real tokens a round": tokens,
        "rounds": len(spent[OURS]),
        "the limit": fastest(spent, "limit"),
    }
    publish("train", settings, workload, tables)


def projected_hours(tokens_per_second: float, tokens_per_question: float) -> dict[str, float]:
    """Return the hours of the paper's two trainings at this speed, which Alpaca's longer examples do not lower."""
    questions = SCIENCEQA_QUESTIONS * SCIENCEQA_EPOCHS
    return {
        "ScienceQA, 30 epochs, h": questions * tokens_per_question / tokens_per_second / 3600,
        "Alpaca 52K, 5 epochs, h": ALPACA_TOKENS * ALPACA_EPOCHS / tokens_per_second / 3600,
    }


if __name__ == "__main__":
    program(main, Settings)
