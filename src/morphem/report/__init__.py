"""What people look at and ask for: checks before a run, figures and maps after it."""
