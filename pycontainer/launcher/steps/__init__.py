"""What the container's first process does before it becomes the container's program.

Every function here runs once, in a freshly cloned process, in the order that launcher.plan gives. After
the pivot nothing may be imported or looked up by name: what a step needs is loaded before the fork.
"""
