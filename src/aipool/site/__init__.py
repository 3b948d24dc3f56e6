"""What an operator says of this site, in the database: its name, who may register, what is sent."""
