"""Several machines: each worker an actor of Ray, behind one front that knows what each of them has read."""
