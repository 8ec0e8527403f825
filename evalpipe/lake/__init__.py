"""The Delta tables on disk or in an object store. Only this room imports deltalake."""
