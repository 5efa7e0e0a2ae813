"""Puts content back that a restored page lost: compares pages, finds marks, and tells content from dirt."""
