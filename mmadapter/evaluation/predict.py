"""A model's answers to a data set's questions: the one place of evaluation that runs a model."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import torch

from mmadapter.encoding import Encoded, Encoder
from mmadapter.evaluation.predictions import DEFAULT_RULE, predictions_frame
from mmadapter.evaluation.rules import RULES, Parsed
from mmadapter.features import QuestionImages, question_images
from mmadapter.model import MultimodalAdapter
from mmadapter.progress import progress_bar
from mmadapter.scienceqa.problems import Dataset, Problem
from mmadapter.scienceqa.prompt import text_answer
from mmadapter.scoring import adaption_of, greedy_answers, length_batches, option_log_likelihoods

LETTER_TOKENS = 16
"""Generated at most for "The answer is (C)."."""


def predict(
    model: MultimodalAdapter,
    data: Dataset,
    *,
    scoring: Literal["likelihood", "generate"] = "likelihood",
    images: QuestionImages | None = None,
    title: str = "answering",
    quiet: bool = False,
) -> pd.DataFrame:
    """Answer every question of `data`, by likelihood or by greedy generation.

    Likelihood takes the option with the highest summed log-probability (at equality the first) and gives the
    probability of each, normalised over the options. Generation reads letters by the `strict` rule, and option
    texts only where they are written as the option is.

    Args:
        images: features of the data's images, if they are at hand; a text-only adapter needs none.
        title: of the progress bar.

    Returns:
        One row a question in the data's order: pid, prediction, output, unparsed, probabilities, prompt_tokens,
        truncated (`evaluation.predictions.COLUMNS`).

    Raises:
        UserError: a broken image, or a question too long for the model.
    """
    if images is None and not model.adapter.text_only:
        images, data = question_images(model.tower, data, model.form, quiet=quiet)
    problems = list(data)
    questions = Encoder(model.llm, model.form)(problems)
    rows: list[dict] = [{}] * len(questions)
    with torch.inference_mode(), progress_bar(title, len(questions), quiet=quiet) as update:
        done = 0
        for indices in length_batches(questions):
            batch = [questions[index] for index in indices]
            adaption = adaption_of(model, images, batch)
            if scoring == "likelihood":
                answers = [_most_likely(score) for score in option_log_likelihoods(model, adaption, batch)]
            else:
                outputs = greedy_answers(model, adaption, batch, _answer_tokens(batch))
                answers = [
                    _read(output, problems[index], model.form.answer)
                    for index, output in zip(indices, outputs, strict=True)
                ]
            for index, answer in zip(indices, answers, strict=True):
                rows[index] = answer
            done += len(batch)
            update(done)
    return predictions_frame(
        [question.pid for question in questions],
        prediction=[row["prediction"] for row in rows],
        output=[row.get("output") for row in rows],
        unparsed=[row.get("unparsed") for row in rows],
        probabilities=[row.get("probabilities") for row in rows],
        prompt_tokens=[len(question.prompt) for question in questions],
        truncated=[question.truncated for question in questions],
    )


def _most_likely(score: torch.Tensor) -> dict:
    return {"prediction": int(score.argmax()), "probabilities": score.softmax(dim=0).tolist()}


def _answer_tokens(batch: list[Encoded]) -> int:
    """Enough for the longest option."""
    return max(LETTER_TOKENS, *(len(option) + 1 for question in batch for option in question.options))


def _read(output: str, problem: Problem, answer: str) -> dict:
    """What a generated text says: a letter by the strict rule, or an option's text."""
    if answer == "letter":
        parsed = RULES[DEFAULT_RULE](output, len(problem.choices), problem.pid)
    else:
        texts = [text_answer(choice).strip() for choice in problem.choices]
        said = output.strip()
        parsed = Parsed(texts.index(said)) if said in texts else Parsed(None, "not the text of an option")
    return {"prediction": parsed.prediction, "output": output, "unparsed": parsed.reason}
