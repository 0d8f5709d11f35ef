"""Where untrusted code runs: processes forked from zygotes, and the host's handles of them."""

from selfchallenge.environments.base import set_opener
from selfchallenge.sandbox.host import default_sandbox

set_opener(lambda environment, seed: default_sandbox().session(environment, seed))
