"""drillctl proves, on real hosts, that an image-recognition service survives the loss of a zone."""

__version__ = "0.1.0"
