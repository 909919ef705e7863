"""What a config names: tasks, networks, methods, and the set-up they make."""
