"""Read and write other programs' adapters: the authors' release, PEFT's adaption prompt, litgpt's."""
