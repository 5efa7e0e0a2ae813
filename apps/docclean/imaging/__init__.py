"""Classical image processing of pages, in NumPy and OpenCV: measures, corrections, blending."""
