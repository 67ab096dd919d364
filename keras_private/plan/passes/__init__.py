"""Rewrites of a recorded plan, one concept a file; each is a function Draft -> Draft that leaves the result unchanged.

Weights are secret and the plan is public, so a pass may look at shapes, attributes and public constants to decide what
to do, never at the value of a weight.
"""
