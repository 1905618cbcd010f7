"""Webhooks of providers about predictions."""

KIND = "webhook"
"""Of the job that applies one."""
