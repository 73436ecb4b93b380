"""Our two additions to the paper, one after the other: whitened components and the loss on the choice.

python -m eval.paper --only additions                                # 9 runs, 25 min: +0.80 (−0.10 to +1.70)
python -m eval.paper --only additions --preset small --data-dir DIR  # 7 runs, 39 min: +14.43 (+7.93 to +20.93)
"""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    paper = {"components": None, "choice_loss": 0.0}
    components = paper | {"components": study.components}
    return [
        Arm(label="as in the paper", settings=paper),
        Arm(label=f"{study.components} components", settings=components),
        Arm(label="and the choice loss", settings=components | {"choice_loss": study.base.choice_loss or 1.0}),
    ]


EXHIBIT = Exhibit(
    name="additions",
    title="Two additions to the paper",
    about="The paper's projection reads the features of all scales; ours may read their first principal components "
    "over the training images, scaled to about equal variance. The paper's loss covers the answer's tokens; ours may "
    "add the cross-entropy of the right option among all options by their likelihoods.",
    arms=arms,
    claims=(Claim(text="Both additions together beat the paper's form", better=2, worse=0),),
)
