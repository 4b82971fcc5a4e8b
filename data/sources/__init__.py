"""Sources: folders and archives as trees of files, and the decoding of pictures."""
