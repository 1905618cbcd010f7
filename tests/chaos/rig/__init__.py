"""Servers, processes and a network that a test may break, and the oracle that says what must hold all the same."""
