"""Table 5 and Figure 5: zero-init gated attention against prompts that share the words' softmax.

python -m eval.paper --only table5                                # 6 runs, 24 min: +1.13 (+0.27 to +2.00)
python -m eval.paper --only table5 --preset small --data-dir DIR  # 6 runs, 47 min: +9.17 (+4.58 to +13.77)
"""

from eval.study import Arm, Claim, Exhibit, Study

KINDS: dict[str, dict[str, str]] = {"zero-init": {}, "rand-init": {"attention": "rand-init"}}
ROWS = ("LLaMA-Adapter, zero-init attention", "LLaMA-Adapter, rand-init attention")
"""The paper's rows."""


def arms(study: Study) -> list[Arm]:
    return [Arm(label=kind, settings=KINDS[kind], published=row) for kind, row in zip(KINDS, ROWS, strict=True)]


EXHIBIT = Exhibit(
    name="table5",
    title="Table 5 and Figure 5: zero-init against rand-init attention",
    about="Rand-init attention has one softmax over prompts and words and no gate; everything else is equal. The "
    "paper's numbers are for the val split.",
    arms=arms,
    claims=(Claim(text="Zero-init attention is better", better=0, worse=1, paper=ROWS),),
    figure="curves",
)
