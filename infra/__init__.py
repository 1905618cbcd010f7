"""The library that the stacks compose. Importing it does nothing."""
