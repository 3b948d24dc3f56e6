"""`aipool backup FILE` and `aipool restore FILE`: an installation as one file, and back.

manifest   what a backup says about itself
archive    the file: a plain tar of two or three members, read strictly and within bounds
keys       the keys an installation needs, their fingerprints, and how a passphrase seals them
copies     the one thing that differs between databases: copying out, staging, putting in place
sqlite     copies, for a database in a file
postgres   copies, for a database on a server
write      `aipool backup`
restore    `aipool restore`

A backup is a moment of the books. A restore therefore forgets what came after it: the epochs
that were open at that moment are closed and what they had leased returns to its owners, so
the restored books stand by themselves, and the number of the installation grows
(`tables.installation`), so that whatever was kept outside can tell one history from another.
"""
