"""The control process: pages and interfaces for people, away from the calls.

main       the process: starts, tells its supervisor, ends
app        the web application: what it answers, and how it refuses
pages      HTML in the product's own words
setup      the page that makes the first administrator
guard      headers on every answer, and a bound on every request
sandbox    serves the built-in sandbox vendor on a socket of its own
"""
