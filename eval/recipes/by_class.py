"""Where the image helps: the multimodal adapter minus its text-only twin, by class of questions and by topic."""

from eval.recipes.main_result import arms
from eval.study import Claim, Exhibit

RECIPE = Exhibit(
    name="by_class",
    title="Where the image helps",
    asks="The runs of Table 2 again: what the image token adds, by class of questions and by topic. It should help "
    "where there is an image, and harm nowhere else.",
    arms=arms,
    claims=(
        Claim(
            text="The image token helps on questions with an image (80.32 and 70.35 in the paper).",
            better=0,
            worse=1,
            column="IMG",
        ),
        Claim(
            text="It costs at most two points where there is neither image nor hint (86.90 and 83.14 in the paper).",
            better=0,
            worse=1,
            least=-2.0,
            column="NO",
        ),
    ),
    figure="classes",
)
