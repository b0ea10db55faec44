"""Downloads: files by URL with their digests checked, and archives unpacked."""
