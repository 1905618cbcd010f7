"""What is run while the application image is built, and about what is in it. The application itself uses none of it."""
