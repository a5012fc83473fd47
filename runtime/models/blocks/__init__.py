"""What layers are made of: each holds weights and what of it varies between families, and adds itself to a graph."""
