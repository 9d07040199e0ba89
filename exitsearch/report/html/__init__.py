"""Pages and pictures: the reports of a search, a verification and a trained model, each one self-contained file.

Every number in them comes from the documents that are reported.
"""
