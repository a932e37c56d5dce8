"""The demo: trains and compares models on the built-in scenes, and writes a report."""

from .run import run_demo

__all__ = ["run_demo"]
