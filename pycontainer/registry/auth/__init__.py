"""Authentication: challenges, credentials, tokens."""

from pycontainer.registry.auth.accounts import forget_account, save_account
from pycontainer.registry.auth.authenticator import FLOWS, Authenticator, Right
from pycontainer.registry.auth.flow import TokenAnswer, TokenRequest
from pycontainer.registry.auth.keychain import Keychain, normal_key

__all__ = [
    "FLOWS",
    "Authenticator",
    "Keychain",
    "Right",
    "TokenAnswer",
    "TokenRequest",
    "forget_account",
    "normal_key",
    "save_account",
]
