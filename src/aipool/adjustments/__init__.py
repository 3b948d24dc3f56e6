"""Adjustments of balances that wait for a second administrator."""
