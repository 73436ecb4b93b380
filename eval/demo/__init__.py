"""The demo data set: a small ScienceQA, generated from a seed, in ScienceQA's own layout.

    write_demo(folder)                           # problems.json, pid_splits.json, captions.json, images/
    problem = sample_problem(rng, FAMILIES[0])   # a new problem, its picture not yet drawn
    draw(problem.scene)                          # its picture

Without its picture, an image question cannot be answered better than by chance. One global image feature can carry
everything that is drawn, except in the hard family, `FARTHEST_NORTH`.
"""

from eval.demo.drawing import draw
from eval.demo.family import DemoProblem, Family, sample_problem
from eval.demo.generate import DEFAULT_SIZES, FAMILIES, FARTHEST_NORTH, demo_problems, write_demo

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
