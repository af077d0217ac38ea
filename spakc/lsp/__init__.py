"""`spakc lsp`: what an editor asks of a file, answered through the Language Server Protocol."""
