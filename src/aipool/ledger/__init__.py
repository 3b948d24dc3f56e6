"""Balances, budgets and the transfers that explain them."""
