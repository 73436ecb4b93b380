"""Adapters in other programs' formats: the authors' release, PEFT's adaption prompt, litgpt's."""
