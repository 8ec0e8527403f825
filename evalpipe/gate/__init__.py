"""May this release ship?"""
