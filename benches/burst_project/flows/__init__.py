"""The flow of the burst bench."""
