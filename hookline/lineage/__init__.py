"""Lineage: from the event that caused it to the last asset it touched."""
