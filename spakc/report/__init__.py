"""The report: what is known of a file and what its runs measured, as one HTML page that needs nothing else. Pure."""
