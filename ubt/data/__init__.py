"""Where pairs come from, one file (or package) a source."""
