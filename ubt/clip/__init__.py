"""open_clip models in and out: loading, training, scoring, attribution."""
