"""What the kernel offers beyond Python's os module: system calls, mounts, namespaces, capabilities, pidfds.

`syscalls` is the one place that uses ctypes. Standard library only; importing it changes nothing.
"""
