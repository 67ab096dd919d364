"""The client: checks and shares its data, asks the three parties, puts their answers together. Needs no TensorFlow.

checks.py    what may be sent at all
window.py    how many queries are on their way at a time
request.py   one batch on its way
watch.py     who reads for requests that nobody waits for
session.py   the connections to the three parties, and the requests on their way over them
answer.py    three shares of an output, as the numbers that they mean
target.py    which model is meant: shapes, owner, plan
routes.py    the ways to it: one for each triple of parties
query.py     one question, and how often it may be asked again
batches.py   arrays of any length: which rows travel together
ticket.py    queries that somebody will ask for later
errands.py   what is done without anybody's waiting for it
client.py    `Client`: connects and queries
aio.py       `AsyncClient`, for event loops
"""
