"""A cell as a traced program, cut by what each equation depends on."""
