"""The image-recognition server under drill: settings, model, preprocessing, batching and web application.

Nothing heavy is imported here: ``python -m inference serve`` must bind its port before PyTorch is loaded.
"""
