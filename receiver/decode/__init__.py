"""Export requests to Arrow columns: the wire format, its repair, the compiled decoder and the one in Python beside it.

Pure: nothing here opens a file or keeps anything.
"""
