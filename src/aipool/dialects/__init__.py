"""What clients and vendors say to each other, read and written. Pure: bytes in, values out."""
