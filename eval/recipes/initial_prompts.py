"""Zero-init against rand-init attention, with initial prompts of another size.

python -m eval.paper --only initial_prompts                                # 12 runs, 59 min: +0.67 (−0.29 to +1.62)
python -m eval.paper --only initial_prompts --preset small --data-dir DIR  # 10 runs, 62 min: +22.73 (+16.09 to +29.37)
"""

from eval.recipes.attention import KINDS
from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"{kind}, {std:g}", settings=settings | {"prompt_std": std})
        for std in (study.base.prompt_std, study.prompt_std)
        for kind, settings in KINDS.items()
    ]


EXHIBIT = Exhibit(
    name="initial_prompts",
    title="Size of the initial prompts",
    about="The paper's prompts start as N(0, 1), those of the small presets with a smaller deviation. The number in "
    "each label is the standard deviation.",
    arms=arms,
    claims=(
        Claim(text="Zero-init attention is better with the other deviation, too", better=2, worse=3),
        Claim(text="Zero-init attention loses at most a point by the other deviation", better=2, worse=0, least=-1.0),
    ),
)
