"""What a command ends with: one clear line on stderr, a hint, and an exit code.

Modelled failures carry their own code (see stackrun.errors).  Anything else is a bug: traceback, 70.
"""

from __future__ import annotations

import os
import sys

from stackrun.errors import EXIT_BUG, EXIT_INTERRUPTED, ComposeError, ExecuteFailed, StackrunError

EXIT_FAILED = 1
EXIT_PIPE = 141
"""128 + SIGPIPE: whoever read our output has gone, as `stackrun logs | head` does."""


def report(error: BaseException) -> int:
    """Tells `error` on stderr and returns the exit code that goes with it."""
    match error:
        case ComposeError():
            _say(faults(error))
        case StackrunError():
            _say(failure(error))
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case BrokenPipeError():
            _swallow_output()
            return EXIT_PIPE
        case OSError(errno=int()):
            _say(f"{_label('error')} {error.filename or 'input or output'}: {(error.strerror or 'it failed').lower()}")
            _swallow_output()
            return EXIT_FAILED
        case _:
            return _bug(error)
    return error.exit_code


def failure(error: StackrunError) -> str:
    """`error: …`, the causes of a partial failure indented below it, then the hint."""
    lines = [f"{_label('error')} {harmless(error.message)}"]
    if isinstance(error, ExecuteFailed):
        lines += [f"  {harmless(cause)}" for cause in error.failures]
    if error.hint:
        lines.append(f"  hint: {harmless(error.hint)}")
    return "\n".join(lines)


def harmless(text: str) -> str:
    """Without control characters, which a terminal would obey: an error quotes files, images and containers (CWE-150)."""
    return "".join(one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text)


def faults(error: ComposeError) -> str:
    """Every fault at its place, then how many there are."""
    if not error.diagnostics:
        return failure(error)
    files = sorted({one.path for one in error.diagnostics})
    count = len(error.diagnostics)
    summary = f"{count} fault{'s' if count > 1 else ''} in {', '.join(files)}; nothing was started"
    return "\n".join([*(harmless(str(one)) for one in error.diagnostics), f"{_label('error')} {harmless(summary)}"])


def coloured(stream: object) -> bool:
    """Whether escape sequences belong on `stream`: a terminal, not a dumb one, and nobody said no (no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return bool(getattr(stream, "isatty", bool)())


def _label(word: str) -> str:
    return f"\x1b[31m{word}:\x1b[0m" if coloured(sys.stderr) else f"{word}:"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _swallow_output() -> None:
    """The interpreter flushes stdout once more at exit, which must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _bug(error: BaseException) -> int:
    import traceback

    traceback.print_exception(error)
    _say(f"{_label('error')} this is a bug in stackrun, not in your stack: {type(error).__name__}: {error}")
    return EXIT_BUG
