"""Predictions by providers."""
