"""Faults under load: what `onnxplain run` leaves when something goes wrong during a run."""
