"""Files of a container: looked at, changed, copied and compared by jobs of the helper.

Theory of operation. A container's programs may exchange directories for links, files for devices and
mounts for other mounts while we work, so nothing here decides by a name and acts by it later. A job

1. takes the container's root as a descriptor: of the running one's mount namespace, which it enters
   through a pidfd, or of a mount of its own over the stopped one's layers (entering.py);
2. gives up the host: its root directory becomes its own /proc/self/fd, where nothing but numbers of open
   descriptors can be found; capabilities, and what Landlock can deny, go too;
3. resolves each path once, by openat2(2) inside that root, to a descriptor without access (O_PATH), asks
   that what it is, and opens, changes or reads exactly this object through its number (inside.py). So no
   device is ever opened and no FIFO waited for, whatever a name stood for a moment ago;
4. walks trees by descriptors, one component at a time, never following a link (walking.py, trees made by
   filling.py).

No module is imported and no name of a user, host or locale looked up after step 2.
"""
