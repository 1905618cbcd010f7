"""What providers tell of predictions."""
