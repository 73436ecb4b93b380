"""Images to multi-scale global features (section 3.3 of the paper): decode, encode, store.

`images` decodes, `towers` loads a frozen image tower, `scales` says what a global feature is for each kind of
tower, `store` computes each image once. Nothing here knows LLaMA or ScienceQA.
"""
