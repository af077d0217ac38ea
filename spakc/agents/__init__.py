"""What `spakc mcp` offers to agents: the commands as tools of the Model Context Protocol, and writing within a role."""
