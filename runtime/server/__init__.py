"""Serving a model to many at once: jobs and what they give out, the processes that own devices, HTTP before them."""
