"""The trail of what people did: one row for every change, in the change's own transaction."""
