"""The pre-flight: what each node of a cluster has, held against the driver and the sweep."""
