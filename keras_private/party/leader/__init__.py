"""What a party does as the leader: it hears what the followers hold, chooses the runs, and serves the owner."""
