"""Reads and writes image files of every kind: pages, their metadata, and pictures in [-1, 1]."""
