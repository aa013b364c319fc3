"""Many processes of one run: how they find, join and watch each other."""
