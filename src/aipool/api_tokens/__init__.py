"""API tokens: what a customer calls with."""
