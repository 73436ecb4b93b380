"""Table 2: the multimodal adapter and its text-only twin in all columns, beside the published rows.

python -m eval.paper --only table2                                # 6 runs, 44 min: +31.50 (+26.15 to +36.85)
python -m eval.paper --only table2 --preset small --data-dir DIR  # 2 runs, 79 min: +8.23 (+3.46 to +13.00)
"""

from eval.study import Arm, Claim, Exhibit, Study

ROWS = ("LLaMA-Adapter", "LLaMA-Adapter (text-only, T)")
"""The paper's rows."""


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label="multimodal", settings=study.full, published=ROWS[0]),
        Arm(label="text-only", settings={**study.full, "variant": "text"}, published=ROWS[1]),
    ]


EXHIBIT = Exhibit(
    name="table2",
    title="Table 2: the main result",
    about="Both variants train on the same problems in the same order. Accuracy on the test split, in percent.",
    arms=arms,
    claims=(
        Claim(
            text="The multimodal adapter is better than its text-only twin",
            better=0,
            worse=1,
            column="Avg",
            paper=ROWS,
        ),
    ),
    figure="columns",
)
