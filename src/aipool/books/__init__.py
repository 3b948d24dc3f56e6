"""The ledger process: it lends to the workers, records their calls and tells them what changed."""
