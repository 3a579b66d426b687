"""What people use where resport could be used, each a script of its own."""
