"""What a whole step is, for the commands and for Python alike: find or make a profile, outcomes, a choice, a model.

Files and folders get their names in `places.py`. What is asked of a step is plain data (`specs/question/request.py`,
`BackboneRequest`, `Measuring`, `Training`); what a person sees meanwhile goes to a `Watch`.
"""
