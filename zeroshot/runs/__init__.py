"""What runs leave: folders, records, result files, tables and the history."""
