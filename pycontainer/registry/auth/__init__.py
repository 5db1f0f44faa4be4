"""Authentication: challenges, credentials, tokens."""

from pycontainer.registry.auth.authenticator import FLOWS, Authenticator, Right
from pycontainer.registry.auth.flow import TokenAnswer, TokenRequest
from pycontainer.registry.auth.keychain import Keychain

__all__ = ["FLOWS", "Authenticator", "Keychain", "Right", "TokenAnswer", "TokenRequest"]
