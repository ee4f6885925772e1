"""The warm worker: a Prefect worker type whose flow runs start in processes that are already there."""

from hookline.worker.warm import WarmWorker, run_worker

__all__ = ["WarmWorker", "run_worker"]
