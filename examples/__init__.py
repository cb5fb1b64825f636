"""The demonstration (`inv demo`) and the project that it runs."""
