"""Other image-to-video systems: which are there, and how is each asked for a clip? One adapter, one file."""
