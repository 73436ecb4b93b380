"""Several scales of image features against the last one (section 3.4).

python -m eval.paper --only scales                                # 6 runs, 18 min: +0.57 (−0.10 to +1.23)
python -m eval.paper --only scales --preset small --data-dir DIR  # 4 runs, 30 min: +0.64 (−1.80 to +3.09)
"""

from eval.study import Arm, Claim, Exhibit, Study


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=f"{scales} scale{'s' if scales > 1 else ''}", settings={"scales": scales}) for scales in study.scales
    ]


EXHIBIT = Exhibit(
    name="scales",
    title="Scales of image features",
    about="The image tower is read at M evenly spaced depths, or at its last layer alone. The paper uses several "
    "scales and reports no other number.",
    arms=arms,
    claims=(Claim(text="Several scales are better than one", better=-1, worse=0),),
)
