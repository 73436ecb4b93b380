"""Table 4: how many of the topmost layers get prompts."""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"L = {layers}", settings={"adapter_layers": layers}, published=f"LLaMA-Adapter, {layers} layers")
        for layers in study.layers
    ]


RECIPE = Exhibit(
    name="table4",
    title="Table 4: inserted layers",
    asks="The topmost L layers get prompts. The paper's numbers are of the val split.",
    arms=arms,
    claims=(
        Claim(
            text="All layers are better than the fewest (83.85 at 30 of 32 layers and 55.95 at 10 in the paper).",
            better=-1,
            worse=0,
        ),
        Claim(
            text="The last step still pays (83.85 at 30 and 73.36 at 20 in the paper).",
            better=-1,
            worse=-2,
        ),
    ),
)
