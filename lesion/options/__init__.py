"""The options of the command line that several commands share, for `options.NAME`."""
# ruff: noqa: F403

from lesion.options.files import *
from lesion.options.goals import *
from lesion.options.joint import *
from lesion.options.lesions import *
from lesion.options.means import *
from lesion.options.rates import *
from lesion.options.recovery import *
from lesion.options.subject import *
from lesion.options.values import *
