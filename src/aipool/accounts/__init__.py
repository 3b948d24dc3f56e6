"""People who have an account: users, administrators, and the first of them."""
