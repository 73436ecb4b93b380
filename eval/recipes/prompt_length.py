"""The prompt length K, which the paper sets to 10 without a table."""

from eval.study import Arm, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [Arm(label=f"K = {length}", settings={"adapter_len": length}) for length in study.lengths]


RECIPE = Exhibit(
    name="prompt_length",
    title="Prompt length",
    asks="K prompts a layer. The paper takes 10 and shows no other, so there is nothing to agree with.",
    arms=arms,
)
