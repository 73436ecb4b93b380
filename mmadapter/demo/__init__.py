"""The demo data set: a ScienceQA in miniature, generated from a seed, in ScienceQA's own layout.

    write_demo(folder)                       # problems.json, pid_splits.json, captions.json, images/
    problem = sample_problem(rng, FAMILIES[0])   # one fresh problem, text only
    draw(problem.scene)                      # its picture

A question with a picture cannot be answered without it better than by chance, with one reservation: what
is drawn is what one global image feature can carry, except in `FARTHEST_NORTH`, the hard family.
"""

from mmadapter.demo.drawing import draw
from mmadapter.demo.family import DemoProblem, Family, sample_problem
from mmadapter.demo.generate import DEFAULT_SIZES, FAMILIES, demo_problems, write_demo
from mmadapter.demo.social import FARTHEST_NORTH

__all__ = [
    "DEFAULT_SIZES",
    "FAMILIES",
    "FARTHEST_NORTH",
    "DemoProblem",
    "Family",
    "demo_problems",
    "draw",
    "sample_problem",
    "write_demo",
]
