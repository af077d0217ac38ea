"""What a role has to know of a file, in one document: for the Implementer what is demanded and what is hers to change,
for the Architect what the statements do to each other and what is known of them."""
