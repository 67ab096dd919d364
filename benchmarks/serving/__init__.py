"""`make bench-serving`: what operators see of a cluster: many clients, fairness, faults under load. See `__main__`."""
