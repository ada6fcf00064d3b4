"""The options of the command line that several commands share, for `options.NAME`."""

# ruff: noqa: F403
from lesion.cli.options.files import *
from lesion.cli.options.goals import *
from lesion.cli.options.joint import *
from lesion.cli.options.lesions import *
from lesion.cli.options.means import *
from lesion.cli.options.rates import *
from lesion.cli.options.recovery import *
from lesion.cli.options.subject import *
from lesion.cli.options.values import *
