"""Table 2: the multimodal adapter and its text-only twin in all columns of ScienceQA, beside the published rows."""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label="multimodal", settings=study.full, published="LLaMA-Adapter"),
        Arm(label="text-only", settings={**study.full, "variant": "text"}, published="LLaMA-Adapter (T)"),
    ]


RECIPE = Exhibit(
    name="table2",
    title="Table 2: the main result",
    asks="Both variants are trained on the same problems in the same order; accuracy on the test split, in percent.",
    arms=arms,
    claims=(
        Claim(
            text="The multimodal adapter is better than its text-only twin (85.19 and 78.31 in the paper).",
            better=0,
            worse=1,
            column="Avg",
        ),
    ),
    figure="columns",
)
