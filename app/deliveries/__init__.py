"""Outbound webhook deliveries."""

KIND = "delivery"
"""Of job."""
