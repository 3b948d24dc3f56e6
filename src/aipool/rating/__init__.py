"""What usage costs. Pure: the same function sizes a hold and settles it."""
