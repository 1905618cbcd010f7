"""AWS: the production target."""
