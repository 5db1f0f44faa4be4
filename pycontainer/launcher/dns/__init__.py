"""The name server that each container on a network has at 127.0.0.11, served by its monitor.

`wire` reads and writes messages, `names` knows the containers by the files that `files` writes, `resolver`
decides, `upstream` asks others, `server` speaks to the container, `opening` makes the sockets, `resolvconf`
is the resolver's configuration file. Standard library only; each is loaded by those that need it, since what
a monitor has loaded it keeps.
"""
