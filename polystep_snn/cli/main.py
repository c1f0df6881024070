"""``polystep-snn``: reads the arguments, runs a command, turns what the user can mend into one line and exit code 2."""

import argparse
import logging
import sys
from collections.abc import Sequence

import polystep_snn
from polystep_snn.cli import adapt, cost, evaluate, export, plot, predict, profile, report, train, verify
from polystep_snn.errors import BackendError, InputError

_COMMANDS = (train, evaluate, predict, export, verify, adapt, plot, report, cost, profile)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = _Parser(prog="polystep-snn", description=polystep_snn.__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {polystep_snn.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0, 2 for what the user can mend, 3 for a backend that failed, 130 after Ctrl-C."""
    logging.basicConfig(format="%(message)s")
    arguments = make_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except InputError as error:
        print(f"polystep-snn: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except BackendError as error:
        print(f"polystep-snn: error: {error}", file=sys.stderr)  # noqa: T201
        return 3
    except KeyboardInterrupt:
        print("polystep-snn: interrupted", file=sys.stderr)  # noqa: T201
        return 130


if __name__ == "__main__":
    sys.exit(main())
