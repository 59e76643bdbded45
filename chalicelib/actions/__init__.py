"""One file per action; the folder is the registry."""
