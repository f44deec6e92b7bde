"""A loaded model: its file, graph index, shapes and constants. Nothing here runs it."""
