"""mae-bench: how good is this pretrained Vision Transformer, really?"""

__version__ = "0.1.0"
