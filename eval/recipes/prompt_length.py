"""Prompt length K, which the paper sets to 10 and does not vary.

python -m eval.paper --only prompt_length                                # 9 runs, 27 min: no claim
python -m eval.paper --only prompt_length --preset small --data-dir DIR  # 5 runs, 33 min: no claim
"""

from eval.study import Arm, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [Arm(label=f"K = {length}", settings={"adapter_len": length}) for length in study.lengths]


EXHIBIT = Exhibit(
    name="prompt_length",
    title="Prompt length",
    about="K prompts a layer. The paper uses 10 and reports no other length, so it makes no claim to check.",
    arms=arms,
)
