"""The table of instructions, by hand."""

from mmadapter.evaluation.grid import format_grid
from mmadapter.evaluation.predictions import predictions_frame
from mmadapter.evaluation.responses import responses_grid, score_responses
from mmadapter.scienceqa.problems import Dataset, Problem


def data(*topics: str | None) -> Dataset:
    problems = {
        str(n): Problem(pid=str(n), split="test", question="?", choices=("a",), answer=0, topic=topic)
        for n, topic in enumerate(topics)
    }
    return Dataset("made up", problems, {"test": tuple(problems)})


def test_shares_of_all_and_of_each_topic():
    asked = data("up", "up", "down")
    answers = predictions_frame(["2", "0", "1"], prediction=[None, 0, None])
    row = score_responses("adapter", 1.23456, answers, asked)
    assert (row.n, row.by_topic) == (3, {"up": 50.0, "down": 0.0})
    assert (
        format_grid(responses_grid([row], "made up test"), "markdown").splitlines()[-1]
        == "| adapter | 1.235 | 33.33 | 50.0 | 0.0 |"
    )


def test_no_topics_no_columns():
    row = score_responses("frozen", 2.0, predictions_frame(["0"], prediction=[0]), data(None))
    assert responses_grid([row], "made up val").headers == ("", "nats a token", "exact")
