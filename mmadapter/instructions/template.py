"""The two prompts of Stanford Alpaca (tatsu-lab/stanford_alpaca, train.py, Apache-2.0).

A response opens with a space, as every answer here does; Alpaca's own code joins it without one.
"""

OPENING = "### Response:"
"""End of a prompt."""

_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n" + OPENING
)
_WITHOUT_INPUT = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n" + OPENING
)


def instruction_prompt(instruction: str, given: str | None) -> str:
    """Write the prompt of an instruction.

    Args:
        given: its input; without one the prompt does not speak of any.
    """
    template = _WITH_INPUT if given else _WITHOUT_INPUT
    return template.format(instruction=instruction, input=given)


def response_text(response: str) -> str:
    """The response as it follows the prompt."""
    return " " + response.strip()
