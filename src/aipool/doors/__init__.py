"""The three doors between the planes, and nothing else: what they say to each other.

Snapshot goes down, Funds holds and settles, Outcome comes up. Everything here is pure:
shapes, their encoding, and the decisions that both sides must make alike.
"""
