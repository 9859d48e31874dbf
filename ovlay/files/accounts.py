"""Users and groups by name or number, as chown(1) takes them."""

from __future__ import annotations

from ovlay.errors import InvalidInput

MAX_ID = 2**32 - 2  # the id after it is no user: (uid_t) -1 means "leave it" to chown(2)
_DIGITS = len(str(MAX_ID))

Owner = tuple[str | int | None, str | int | None]
"""A user and a group, each by name or number, or None for what is the default."""


def numbers_of(owner: Owner, default: tuple[int, int]) -> tuple[int, int]:
    """The numbers of a user and a group; raises `InvalidInput` where there is none of a name."""
    user, group = owner
    return (
        default[0] if user is None else user_id(user),
        default[1] if group is None else group_id(group),
    )


def user_id(name: str | int) -> int:
    """The number of a user that is given by name or number; raises `InvalidInput` where there is none."""
    if (number := number_of(name)) is not None:
        return number
    import pwd

    try:
        return pwd.getpwnam(str(name)).pw_uid
    except (KeyError, ValueError):  # the latter for what cannot be in a C string
        raise InvalidInput(f"there is no user {name!r}") from None


def group_id(name: str | int) -> int:
    """The number of a group that is given by name or number; raises `InvalidInput` where there is none."""
    if (number := number_of(name)) is not None:
        return number
    import grp

    try:
        return grp.getgrnam(str(name)).gr_gid
    except (KeyError, ValueError):
        raise InvalidInput(f"there is no group {name!r}") from None


def number_of(name: str | int) -> int | None:
    """The number of a user or a group, None for a name; raises `InvalidInput` for a number that is nobody's."""
    if isinstance(name, str):
        if not (name.isascii() and name.isdecimal()):  # digits of other scripts are names
            return None
        digits = name.lstrip("0") or "0"
        number = int(digits) if len(digits) <= _DIGITS else MAX_ID + 1
    else:
        number = name
    if not 0 <= number <= MAX_ID:
        raise InvalidInput(f"{name} is no number of a user or a group", remedy=f"they go from 0 to {MAX_ID}")
    return number
