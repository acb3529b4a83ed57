"""What takes several steps of a case or more than one case: jobs, ingest, models in and out, audits."""
