"""The prompts of Stanford Alpaca, to the letter."""

from mmadapter.instructions.template import OPENING, instruction_prompt, response_text

WITHOUT = """Below is an instruction that describes a task. Write a response that appropriately completes the request.

### Instruction:
List {two}  colors.

### Response:"""
WITH = """Below is an instruction that describes a task, paired with an input that provides further context. \
Write a response that appropriately completes the request.

### Instruction:
Sort.

### Input:
b
  a

### Response:"""


def test_both_prompts():
    assert instruction_prompt("List {two}  colors.", "") == instruction_prompt("List {two}  colors.", None) == WITHOUT
    assert instruction_prompt("Sort.", "b\n  a") == WITH
    assert WITH.endswith(OPENING)


def test_a_response_keeps_its_lines_and_their_indents():
    assert response_text("def f():\n    pass\n") == " def f():\n    pass"
