# SPDX-License-Identifier: LGPL-2.1-or-later
"""All exceptions of vmkit: `Error`, and below it one for each error name of the service, `AccessDenied` and
`ServiceUnavailable`."""

from . import _codes
from ._codes import *  # noqa: F403
from ._error import AccessDenied, Error, ServiceUnavailable

__all__ = ['Error', 'AccessDenied', 'ServiceUnavailable']
__all__ += _codes.__all__
