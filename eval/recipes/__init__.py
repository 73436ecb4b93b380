"""The paper's tables, figures and claims, one file each."""

from eval.recipes import attention, by_class, components, epochs, layers, main_result, prompt_length, scales

RECIPES = {
    module.RECIPE.name: module.RECIPE
    for module in (main_result, by_class, layers, attention, epochs, prompt_length, scales, components)
}
"""By name, in the page's order; earlier ones run first."""
