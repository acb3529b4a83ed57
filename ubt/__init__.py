"""UBT Inspector: see whether a backdoor separates in a CLIP model, find what carries it, unlearn it."""

__version__ = "0.1.0"
