"""Reads pages with OCR engines, compares readings, and judges a cleaned page by them."""
