"""What the parties compute of a query beside its answer: whether its inputs and all values were in range.

Each check is a rewriting of an executable draft: it appends ops and a notice (`plan.ports`) and leaves all ops as they
are that were there.
"""
