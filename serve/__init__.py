"""Ways to serve that other programs start by name."""
