"""The paper's tables, figures and claims, one file each."""

from eval.recipes import additions, attention, by_class, epochs, layers, main_result, prompt_length, scales

RECIPES = {
    module.RECIPE.name: module.RECIPE
    for module in (main_result, by_class, layers, attention, epochs, prompt_length, scales, additions)
}
"""By name, in the page's order; earlier ones run first."""
