"""A case: its settings, its stages, where they are kept, how they are run."""
