from devtasks import ns

__all__ = ["ns"]
