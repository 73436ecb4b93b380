"""LLaMA-Adapter (arXiv 2303.16199): adaption prompts, zero-init gated attention, projection. No CLIP, no ScienceQA."""
