"""The command line: arguments -> commands, and errors -> exit codes.

Exit codes: 0 finished; 2 the user can fix it; 3 a component failed, finished work is stored; 130 interrupted.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from ablations.cli.arguments import Arguments, AuditArguments, RunArguments, WinRateArguments
from ablations.cli.parser import parse
from ablations.core.errors import AblationError


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every foreseen error is one message on standard error."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    try:
        code = _perform(parse(arguments))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads the output has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except AblationError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted; all finished work is stored, the same command resumes it", file=sys.stderr)
        return 130


def _perform(asked: Arguments) -> int:
    """Do what was asked for; modules are imported when they are needed, because some take seconds."""
    match asked:
        case RunArguments():
            from ablations.cli.run import run

            return run(asked)
        case AuditArguments() | WinRateArguments():
            from ablations.cli import judge

            return judge.perform(asked)
        case _:
            from ablations.cli import inspect

            return inspect.perform(asked)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
