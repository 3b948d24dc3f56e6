"""Things the whole program stands on that know nothing of the product."""
