"""The statements of accounts: of people, of sessions, and of the other ways in."""
