"""Search algorithms, one file each, and the rules they share."""
