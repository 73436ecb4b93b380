"""Adapters of other programs: the authors' release, PEFT's adaption prompt, litgpt's. No training, no ScienceQA."""
