"""The flows of the fault tests."""
