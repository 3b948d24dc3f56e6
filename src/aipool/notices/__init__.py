"""Notices: what people are told without asking, and over which channels."""
