"""The log, in which names from outside are printable, whoever shows it."""

import logging

from ubt.core.text import printable

log = logging.getLogger("ubt")


def _printably(record: logging.LogRecord) -> bool:
    record.msg, record.args = printable(record.getMessage()), ()
    if record.exc_info and not record.exc_text:
        record.exc_text = printable(logging.Formatter().formatException(record.exc_info))
    return True


log.addFilter(_printably)
