"""The frozen language model: found, loaded and placed by `loading`, run in parts by `decoder`."""
