"""One file an endpoint or a few that are kin."""
