"""Small reference files, each beside the script that makes it."""
