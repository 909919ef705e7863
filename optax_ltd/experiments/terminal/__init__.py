"""What the user sees while an experiment runs, and how Ctrl-C ends it."""
