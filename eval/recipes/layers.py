"""Table 4: number of topmost layers that get prompts.

python -m eval.paper --only table4                                # 9 runs, 29 min: +0.43 (−0.29 to +1.16)
python -m eval.paper --only table4 --preset small --data-dir DIR  # 6 runs, 84 min: −3.62 (−7.16 to −0.07)
"""

from eval.study import Arm, Claim, Exhibit, Study

ROWS = {layers: f"LLaMA-Adapter, {layers} layers" for layers in (10, 20, 30)}
"""The paper's rows."""


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"L = {layers}", settings={"adapter_layers": layers}, published=ROWS.get(layers))
        for layers in study.layers
    ]


EXHIBIT = Exhibit(
    name="table4",
    title="Table 4: inserted layers",
    about="The topmost L layers get prompts. The paper's numbers are for the val split of LLaMA-7B, with 32 layers.",
    arms=arms,
    claims=(
        Claim(text="All layers are better than the fewest", better=-1, worse=0, paper=(ROWS[30], ROWS[10])),
        Claim(text="The last step still pays", better=-1, worse=-2, paper=(ROWS[30], ROWS[20])),
    ),
)
