"""Evaluations of more images than fit into memory: folders of predictions and annotations, part by part."""
