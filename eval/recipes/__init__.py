"""The paper's tables, figures and claims, one file each.

Each file opens with its commands for the tiny and the small study, the number of runs, their time of training and the
first claim's difference in points of test accuracy, as recorded in eval/results/.
"""

from eval.recipes import (
    additions,
    attention,
    by_class,
    epochs,
    initial_prompts,
    layers,
    main_result,
    prompt_length,
    scales,
)

EXHIBITS = {
    module.EXHIBIT.name: module.EXHIBIT
    for module in (main_result, by_class, layers, attention, initial_prompts, epochs, prompt_length, scales, additions)
}
"""By name, in the page's order; earlier ones run first."""
