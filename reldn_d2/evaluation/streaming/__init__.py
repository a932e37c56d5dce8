"""Evaluations of more images than fit into memory: folders of predictions and annotations, part by part."""

from .evaluation import evaluate_folders

__all__ = ["evaluate_folders"]
