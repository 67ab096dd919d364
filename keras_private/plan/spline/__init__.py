"""Tables of functions of one number: what a spline op reads at a secret place."""
