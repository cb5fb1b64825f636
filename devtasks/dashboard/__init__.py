"""The HTTP API and the page on it (docs/api.md, docs/dashboard.md).

Needs the extra `dashboard`: uvicorn and Starlette.
"""
