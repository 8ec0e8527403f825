"""A gate's outcome as others read it. Text of traces and people is escaped for the form that it is put into."""
