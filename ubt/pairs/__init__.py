"""The table of a case's pairs: its query language, annotations, export, neighbours, projection."""
