"""Zero-shot image classification with CLIP on MindSpore."""

__version__ = "0.1.0"
