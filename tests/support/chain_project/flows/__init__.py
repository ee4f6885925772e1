"""Flows for the tests of lineage: a chain of three, joined by events and assets."""
