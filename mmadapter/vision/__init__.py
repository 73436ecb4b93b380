"""From images to multi-scale global features (section 3.3 of the paper).

`images` decodes, `towers` loads a frozen image tower, `scales` defines its global features, `store` keeps them on disk.
"""
