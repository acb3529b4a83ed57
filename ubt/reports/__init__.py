"""What is handed over: the report of a case, the tables and figures of the papers."""
