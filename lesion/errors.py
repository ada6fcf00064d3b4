"""The errors a user meets: what was expected, what came, what to do."""


class LesionError(Exception):
    """Something a user can mend; its text says how."""


class SubjectError(LesionError):
    """The network, its weights or its images cannot be used as given."""


class StudyError(LesionError):
    """The study file cannot be read, or belongs to another subject."""


class EvidenceError(LesionError):
    """The study holds too little to answer."""
