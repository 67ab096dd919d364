"""What a party does as a follower: it tells the leader what it holds, and runs what the leader announces."""
