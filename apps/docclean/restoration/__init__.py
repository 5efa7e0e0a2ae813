"""Restores pages by networks: chooses the task of a page, runs networks tile by tile, samples the residual."""
