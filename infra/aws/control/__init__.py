"""What a deployment does besides declaring resources: it runs one-off tasks, and it watches rollouts to their end."""
