"""Many inputs: batches, worker threads, and what becomes of an error."""
