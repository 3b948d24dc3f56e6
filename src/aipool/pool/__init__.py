"""The pool: the vendors of AI and the upstream keys with which they are called."""
