"""Clean scanned or photographed pages: see `app.run`."""
