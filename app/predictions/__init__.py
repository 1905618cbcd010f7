"""Predictions by providers."""

KIND = "prediction"
"""Of the job that sees a prediction through."""
