"""Settings, errors, files, runs and stages: nothing of the field."""
