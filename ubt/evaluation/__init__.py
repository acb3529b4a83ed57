"""Measures: zero-shot CA, ASR and RA; detection. The only readers of ground truth beside the figures."""
