"""Outbound webhook deliveries."""
