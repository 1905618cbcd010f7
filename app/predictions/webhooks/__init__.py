"""What providers tell of predictions."""

KIND = "webhook"
"""Of the job that applies one."""
