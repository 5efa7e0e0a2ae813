"""Reads and writes PDF files: finds the scans on their pages, and replaces samples of image objects."""
