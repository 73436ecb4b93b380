"""The image features as they are against their whitened principal components, which the paper has not."""

from eval.study import Arm, Claim, Recipe, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label="features"),
        Arm(label=f"{study.components} components", settings={"components": study.components}),
    ]


RECIPE = Recipe(
    name="components",
    title="Image features, plain and whitened",
    asks="The projection reads the features of all scales, or their first principal components over the training "
    "images, all of about equal variance. This is ours: the paper says no more than that features are concatenated.",
    arms=arms,
    claims=(Claim(text="Whitened components beat plain features (not in the paper).", better=1, worse=0),),
)
