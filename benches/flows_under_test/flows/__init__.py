"""The flows that all arms of a bench run: the same files for Hookline and for stock Prefect."""
