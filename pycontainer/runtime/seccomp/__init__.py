"""System call filters: the default policy, profiles from files, and their compilation to BPF."""

from pycontainer.runtime.seccomp.compile import compile, syscall_table
from pycontainer.runtime.seccomp.policy import default_profile
from pycontainer.runtime.seccomp.profile import ArgTest, Profile, Rule, load, parse

__all__ = ["ArgTest", "Profile", "Rule", "compile", "default_profile", "load", "parse", "syscall_table"]
