"""Downloads: files by URL or hub name with their digests checked, archives unpacked."""
