"""The two prompts of Stanford Alpaca (tatsu-lab/stanford_alpaca, train.py, Apache-2.0), defined here alone.

A response opens with a space, as every answer in this package does; Alpaca's own code joins it without one.
"""

OPENING = "### Response:"
"""The last line of a prompt."""


def instruction_prompt(instruction: str, given: str | None) -> str:
    """Return the prompt of an instruction with its input `given`, or the one that mentions no input."""
    pairing, context = "", ""
    if given:
        pairing, context = ", paired with an input that provides further context", f"### Input:\n{given}\n\n"
    return (
        f"Below is an instruction that describes a task{pairing}. "
        "Write a response that appropriately completes the request.\n\n"
        f"### Instruction:\n{instruction}\n\n{context}{OPENING}"
    )


def response_text(response: str) -> str:
    """Return a response as it follows the prompt."""
    return " " + response.strip()
