"""The providers that work in this process: what makes, changes and removes custom resources."""
