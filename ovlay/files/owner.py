"""Whom a name stands for: users and groups by their numbers."""

from __future__ import annotations

from ovlay.errors import InvalidInput

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
    import pwd

    if isinstance(name, int) or name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise InvalidInput(f"there is no user {name!r}") from None


def group_id(name: str | int) -> int:
    """The number of a group that is given by name or number; raises `InvalidInput` where there is none."""
    import grp

    if isinstance(name, int) or name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise InvalidInput(f"there is no group {name!r}") from None
