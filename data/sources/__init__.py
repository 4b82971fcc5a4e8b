"""Reading of a source: folders, archives, and pictures of any format."""
