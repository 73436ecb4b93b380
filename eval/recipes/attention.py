"""Table 5 and Figure 5: zero-init gated attention against prompts in the words' own softmax."""

from eval.study import Arm, Claim, Exhibit, Study

KINDS: dict[str, dict[str, str]] = {"zero-init": {}, "rand-init": {"attention": "rand-init"}}


def arms(study: Study) -> list[Arm]:
    return [
        Arm(label=kind, settings=settings, published=f"LLaMA-Adapter, {kind} attention")
        for kind, settings in KINDS.items()
    ]


RECIPE = Exhibit(
    name="table5",
    title="Table 5 and Figure 5: zero-init against rand-init attention",
    asks="Rand-init attention is one softmax over prompts and words without a gate; everything else is the same. The "
    "paper's numbers are of the val split.",
    arms=arms,
    claims=(Claim(text="Zero-init attention is better (84.04 and 40.77 in the paper).", better=0, worse=1),),
    figure="curves",
)
