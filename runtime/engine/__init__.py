"""Running a model: the programs of its steps, the sequences in its slots, the tokens it draws."""
