"""Services that are containers: everything through the command line of docker or podman.

Nothing here is imported in a project without such a service, and nothing here signals a process of a container.
"""
