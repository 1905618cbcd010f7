"""Accounts: register, log in, refresh, who am I."""
