"""What is ours and not the paper's, one after the other: whitened components, and the loss on the choice."""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    paper = {"components": None, "choice_loss": 0.0}
    components = paper | {"components": study.components}
    return [
        Arm(label="as in the paper", settings=paper),
        Arm(label=f"{study.components} components", settings=components),
        Arm(label="and the choice loss", settings=components | {"choice_loss": study.base.choice_loss or 1.0}),
    ]


RECIPE = Exhibit(
    name="additions",
    title="Two additions to the paper",
    asks="The projection reads the features of all scales, or their first principal components over the training "
    "images, all of about equal variance. And the loss is that of the answer's tokens, or has beside it the "
    "cross-entropy of the right option among all by their likelihoods. Neither is in the paper.",
    arms=arms,
    claims=(Claim(text="Both together beat the paper's form (not in the paper).", better=2, worse=0),),
)
