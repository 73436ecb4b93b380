"""Prompt length K, which the paper sets to 10 and does not vary.

    python -m eval.paper --only prompt_length
    python -m eval.paper --only prompt_length --preset small --data-dir DIR

Tiny: 9 runs, 27 minutes of training; test Avg from 95.93 to 96.20, within the intervals.
Small: 5 runs, 33 minutes; test IMG 63.21 with one prompt, 65.08 with 10, 64.65 with 30.
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
