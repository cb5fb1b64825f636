"""The same verbs on other hosts, over Fabric. Nothing here is imported without `--hosts`."""
