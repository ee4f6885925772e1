"""Prefect's server as `up` starts it, `python -m hookline.prefect_server`: stock, with less to do for a run.

Nothing that it stores or answers is changed. Each module is one difference, for the version alone that it was
tested with; why, and what was measured, is in docs/decisions/0004 and 0005.
"""
