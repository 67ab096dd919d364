"""The recorded program: ops, shapes, checks, bounds, cost and optimisation. Public, so anyone may read it."""
