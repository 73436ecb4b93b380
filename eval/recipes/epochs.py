"""Table 6: robustness to over-fitting, by training twice and four times as long.

python -m eval.paper --only table6                                # 9 runs, 61 min: +1.57 (+0.52 to +2.62)
python -m eval.paper --only table6 --preset small --data-dir DIR  # 7 runs, 75 min: +3.07 (+0.68 to +5.46)
"""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"{epochs} epochs", settings={"epochs": epochs}, published=f"LLaMA-Adapter, {epochs} epochs")
        for epochs in study.epochs
    ]


EXHIBIT = Exhibit(
    name="table6",
    title="Table 6: longer training",
    about="In the paper, training four times as long raises the val loss and does not lower val accuracy. Losses are "
    "those of the last epoch, as in the paper; accuracy is that of the epoch with the best val accuracy, which a run "
    "keeps.",
    arms=arms,
    claims=(
        Claim(
            text="Four times the epochs lose at most a point",
            better=-1,
            worse=0,
            least=-1.0,
            paper=("LLaMA-Adapter, 60 epochs", "LLaMA-Adapter, 15 epochs"),
        ),
    ),
    figure="curves",
)
