"""What a build does with files: chosen in a context or a stage, summed up, copied into a layer, sealed.

Theory of operation. A context is a stranger's directory, which may change while it is read, and a stage's
files are an image's: both are walked by descriptors, one component at a time, no link followed but those that
a source names, and these are resolved by hand inside the root. The job locks itself into the directories it
was given, as those of `launcher.files` do, before it looks at the first name.

`checksum` and `copy` choose by the same code, so what a cache key speaks of is what is copied.
"""
