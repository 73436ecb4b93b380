"""Several scales of image features against the last one (section 3.4)."""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"{scales} scale{'s' if scales > 1 else ''}", settings={"scales": scales}) for scales in study.scales
    ]


RECIPE = Exhibit(
    name="scales",
    title="Scales of image features",
    asks="The image tower is read at M evenly spaced depths, or at its last layer alone. The paper uses several and "
    "shows no other.",
    arms=arms,
    claims=(Claim(text="Several scales are better than one (used, not measured, in the paper).", better=-1, worse=0),),
)
