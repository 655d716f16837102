"""Return and error codes of the interface of MPAI-AIF.

The names are the standard's, and so are the numbers of the first three. It prints none for errors:
those from 100 on are this project's, in the order in which the standard lists the names.
"""

from __future__ import annotations

MPAI_AIF_OK = 0
MPAI_AIM_ALIVE = 1
MPAI_AIM_DEAD = 2

MPAI_ERROR = 100
MPAI_ERROR_MEM_ALLOC = 101
MPAI_ERROR_MODULE_NOT_FOUND = 102
MPAI_ERROR_INIT = 103
MPAI_ERROR_TERM = 104
MPAI_ERROR_MODULE_CREATION_FAILED = 105
MPAI_ERROR_PORT_CREATION_FAILED = 106
MPAI_ERROR_CHANNEL_CREATION_FAILED = 107
MPAI_ERROR_WRITE = 108
MPAI_ERROR_TOO_MANY_PENDING_MESSAGES = 109
