"""Moving in: what another platform's dump holds becomes users, money, tokens, vendors and prices.

dump       a dump as tables of rows: a SQLite file, a JSON export, or INSERT statements
sql        the small, strict reader of INSERT statements
new_api    what the rows of new-api (and one-api, which it grew from) mean
carrying   making it so, once: what was moved in is remembered by its number there
tables     what is remembered
"""
