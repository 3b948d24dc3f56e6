"""What is sold: models, their prices, and the routes that serve them."""
