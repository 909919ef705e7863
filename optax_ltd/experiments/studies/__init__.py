"""Published results to reproduce, one a file, and what they share."""
