"""What the state of a transformation remembers."""
