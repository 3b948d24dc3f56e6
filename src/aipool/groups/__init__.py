"""Pricing groups: at which multiple of the list price, and which models."""
