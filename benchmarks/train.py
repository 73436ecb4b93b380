"""Training: real tokens a second of mmadapter, its peers and the limit.

    python -m benchmarks.train --size small --vocabulary 32000

Every contender trains on the same questions with the same frozen weights, in alternation. A real token is one that a
training has to read; padding, and the logits of prompts, are a contender's own affair.
"""

from __future__ import annotations

from benchmarks.measure import Table, alternate, fastest, publish, rates, ratios
from benchmarks.trainers import LEARNING_RATE, possible
from benchmarks.workload import Settings, backbone, questions, real_tokens
from mmadapter.cli.options import program

SCIENCEQA_QUESTIONS, SCIENCEQA_EPOCHS = 12_726, 30
ALPACA_TOKENS, ALPACA_EPOCHS = 52_002 * 120, 5
"""120 tokens an example: the hub's table holds 918 bytes for each, its text twice and the template once."""


def main(settings: Settings) -> None:
    """The table, and on a GPU the hours that the paper's two trainings would take."""
    model = backbone(settings)
    asked, source = questions(settings)
    builders = possible(settings)
    trainings = {name: build(settings, model, asked, LEARNING_RATE) for name, build in builders.items()}
    spent = alternate(
        {name: training.epoch for name, training in trainings.items()},
        rounds=settings.rounds,
        seconds=settings.seconds,
        synchronise=settings.synchronise,
    )
    limit, ours, tokens = fastest(spent, "limit"), "mmadapter, text-only", real_tokens(asked)
    rows, hours = [], []
    for name, seconds in spent.items():
        rows.append(
            {
                "contender": name,
                "real tokens/s": rates(tokens, seconds),
                "time over the limit's": ratios(seconds, spent[limit]),
                "time over ours": ratios(seconds, spent[ours]),
                "what": builders[name].__doc__.splitlines()[0],
            }
        )
        hours.append({"contender": name, **projected_hours(rates(tokens, seconds).median, tokens / len(asked))})
    tables = [Table(f"training, {settings.size}, vocabulary {settings.vocabulary:,}", rows)]
    if settings.device.startswith("cuda"):
        tables.append(Table("projected from the tokens/s above", hours))
    workload = {
        "lengths": source,
        "questions": len(asked),
        "real tokens a round": tokens,
        "rounds": len(spent[ours]),
        "the limit": limit,
    }
    publish("train", settings, workload, tables)


def projected_hours(tokens_per_second: float, tokens_per_question: float) -> dict[str, float]:
    """Of the paper's two trainings at this speed. Alpaca's examples are longer, which a GPU does no slower."""
    questions = SCIENCEQA_QUESTIONS * SCIENCEQA_EPOCHS
    return {
        "ScienceQA, 30 epochs, h": questions * tokens_per_question / tokens_per_second / 3600,
        "Alpaca 52K, 5 epochs, h": ALPACA_TOKENS * ALPACA_EPOCHS / tokens_per_second / 3600,
    }


if __name__ == "__main__":
    program(main, Settings)
