"""The language of Dockerfiles: from text to what an executor does, step by step. No I/O.

1. `parse(text)` gives a `Dockerfile`: directives, global ARGs, and stages of frozen instructions with
   their variables unexpanded (`model`).
2. `plan(dockerfile, variables, target=…)` gives a `Plan`: the stages the target needs in an order in
   which each comes after what it needs, the base and the sources of each resolved to a stage, an image, a
   named context or nothing. Once the config of a base image is known, `Plan.with_triggers` puts its
   ONBUILD triggers in front of the stage; they may make more stages needed.
3. `Plan.scope(index, env)` gives the `Scope` of a stage; `Scope.step(instruction)` expands its
   instructions one after the other into `Step`s: the expanded instruction, which variables that
   read, and the environment of a RUN. A stage on top of a stage starts with
   `Plan.scope(index, base=scope)`.

Everything wrong with the text is a `DockerfileError` with file, line and text; what is only doubtful
is a `Warning` of one of BuildKit's build checks.
"""
