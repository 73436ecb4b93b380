"""Zero-init against rand-init attention once more, with initial prompts of another size: does that decide?"""

from eval.recipes.attention import KINDS
from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"{kind}, {std:g}", settings=settings | {"prompt_std": std})
        for std in (study.base.prompt_std, study.prompt_std)
        for kind, settings in KINDS.items()
    ]


RECIPE = Exhibit(
    name="initial_prompts",
    title="What the prompts begin as",
    asks="The paper's prompts begin as N(0, 1), those of the small presets are smaller. Both attentions with either; "
    "numbers are standard deviations.",
    arms=arms,
    claims=(
        Claim(text="With the other size, too, zero-init is better (not in the paper).", better=2, worse=3),
        Claim(
            text="Zero-init attention loses at most a point by it (not in the paper).", better=2, worse=0, least=-1.0
        ),
    ),
)
