"""The control process: pages and interfaces for people, away from the calls.

main       the process: starts, tells its supervisor, ends
app        the web application: what it answers, and how it refuses
pages      HTML in the product's own words
setup      the page that makes the first administrator
guard      headers on every answer, and a bound on every request
access     who may use the operator's interface, which is all under /api
exact      refuses parameters that are not known, and fields that are there twice
masking    whom administrators are not told of
telling    the workers are told of a change
keys       upstream keys: how they fare, tests, balances, many at once
offers     from a vendor's list of models to models on sale; the dry run
explain    the dry run: which keys a call would go to now, and why not to others
alerts     the channels over which people are told
asking     vendors are asked outside of calls
taking     models are taken over from a vendor
sandbox    serves the built-in sandbox vendor on a socket of its own
"""
