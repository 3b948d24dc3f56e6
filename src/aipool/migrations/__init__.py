"""How the database came to look as it does: numbered steps, a sentence on each.

Run by `aipool.migrate`, at every start and by `aipool migrate`. A step never imports the
tables of the program, which go on changing; it says what they were.
"""
