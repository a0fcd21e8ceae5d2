"""The sweep file: read, checked, explained when wrong."""
