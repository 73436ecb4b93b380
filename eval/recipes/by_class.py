"""Gain from the image, the multimodal adapter minus its text-only twin, by class of questions and topic.

python -m eval.paper --only by_class                                # 6 runs, 44 min: +68.70 (+64.30 to +73.11)
python -m eval.paper --only by_class --preset small --data-dir DIR  # 2 runs, 79 min: +17.75 (+8.94 to +26.56)
"""

from eval.recipes.main_result import ROWS, arms
from eval.study import Claim, Exhibit

EXHIBIT = Exhibit(
    name="by_class",
    title="Gain from the image, by class of questions",
    about="The runs of Table 2 again: the gain from the image token, by class of questions and by topic. It should "
    "help where there is an image and do no harm elsewhere.",
    arms=arms,
    claims=(
        Claim(text="The image token helps on questions with an image", better=0, worse=1, column="IMG", paper=ROWS),
        Claim(
            text="It costs at most two points where there is neither image nor hint",
            better=0,
            worse=1,
            least=-2.0,
            column="NO",
            paper=ROWS,
        ),
    ),
    figure="classes",
)
