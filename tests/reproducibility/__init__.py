"""A recorded smoke run, and whether it comes out the same here."""
