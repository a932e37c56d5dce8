"""Makers of inputs that several tests share."""
