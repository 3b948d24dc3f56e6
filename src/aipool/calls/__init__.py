"""The log of API calls: one row a call, and the hourly sums of them."""
