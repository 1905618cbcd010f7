"""Names that stand in Redis: see app.jobs.execute."""
