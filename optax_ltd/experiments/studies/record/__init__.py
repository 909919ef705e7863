"""How far a plain tanh network learns, and what carries it."""
