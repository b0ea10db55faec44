"""What runs leave: folders, records, tables and the history."""
