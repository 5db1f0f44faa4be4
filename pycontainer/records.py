"""Frozen data as attrs makes it, whose methods are made when they are first called.

attrs compiles the methods of a class when that is defined, which takes a millisecond; a short program that
runs one container defines a hundred such classes and makes one object of a few of them. So what lies on its
way is declared by these names instead of attrs' own. Type checkers take them for attrs', whose functions
(`attrs.evolve`, `attrs.fields`, `attrs.asdict`) take these classes too, as do copy and pickle.

Of what attrs can do here is what is used: `frozen` with kw_only, eq and repr; defaults, factories, repr and
metadata of fields; inheritance; __attrs_post_init__. Objects have no slots.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from attrs import Factory, asdict, evolve, field, fields, frozen
else:
    _NOTHING = object()
    _FIELDS = "__record_fields__"

    class Factory:
        """A default that is made for each object."""

        __slots__ = ("factory",)

        def __init__(self, factory):
            self.factory = factory

    class Field:
        """What is declared of a field."""

        __slots__ = ("default", "kw_only", "metadata", "name", "repr", "type")

        def __init__(self, default, repr, metadata):
            self.default = default
            self.repr = repr
            self.metadata = metadata

        @property
        def argument(self):
            """Its name for __init__."""
            return self.name.lstrip("_")

        @property
        def is_required(self):
            """Whether it has no default."""
            return self.default is _NOTHING

        def made(self):
            """Its default, for one object."""
            return self.default.factory() if type(self.default) is Factory else self.default

    def field(*, default=_NOTHING, factory=None, repr=True, metadata=None):
        """Declare a field with more than a default."""
        return Field(default if factory is None else Factory(factory), repr, metadata or {})

    def frozen(cls=None, *, kw_only=False, eq=True, repr=True):
        """Decorate a class whose annotations are the fields of frozen objects."""
        if cls is None:
            return lambda cls: frozen(cls, kw_only=kw_only, eq=eq, repr=repr)
        found = {}
        for base in reversed(cls.__mro__[1:]):
            found.update((each.name, each) for each in base.__dict__.get(_FIELDS, ()))
        for name, kind in cls.__annotations__.items():
            if kind.startswith("ClassVar"):
                continue
            given = cls.__dict__.get(name, _NOTHING)
            if type(given) is not Field:
                given = Field(given, True, {})
            if name in cls.__dict__:
                delattr(cls, name)
            given.name, given.type, given.kw_only = name, kind, kw_only
            found[name] = given
        setattr(cls, _FIELDS, tuple(found.values()))
        cls.__init__ = _init_first
        cls.__setattr__ = cls.__delattr__ = _refuse
        cls.__attrs_attrs__, cls.__signature__ = _AttrsFields(), _Signature()
        if repr and "__repr__" not in cls.__dict__:
            cls.__repr__ = _repr
        if eq and "__eq__" not in cls.__dict__:
            cls.__eq__, cls.__hash__ = _eq, _hash
        return cls

    def fields(cls):
        """The fields of a class, in order."""
        return getattr(cls, _FIELDS)

    def evolve(inst, /, **changes):
        """A copy of an object with some fields changed."""
        for each in fields(type(inst)):
            if each.argument not in changes:
                changes[each.argument] = getattr(inst, each.name)
        return type(inst)(**changes)

    def asdict(inst):
        """The fields of an object by name, those of objects in it as well."""
        return {each.name: _plain(getattr(inst, each.name)) for each in fields(type(inst))}

    def _plain(value):
        if hasattr(type(value), _FIELDS):
            return asdict(value)
        if isinstance(value, (list, tuple, set, frozenset)):
            return [_plain(each) for each in value]
        if isinstance(value, dict):
            return {_plain(key): _plain(each) for key, each in value.items()}
        return value

    # -- the methods that all have in common ------------------------------------------------------

    def _owner(cls):
        return next(base for base in cls.__mro__ if _FIELDS in base.__dict__)

    def _init_first(self, *args, **given):
        """__init__ of a class that has no object yet: most get one, for which compiling is not worth it."""
        cls = _owner(type(self))
        cls.__init__ = _init_second
        if args or not given.keys() <= {each.argument for each in fields(cls)}:
            _init_second(self, *args, **given)
            return
        values = {}
        for each in fields(cls):
            if each.argument in given:
                values[each.name] = given[each.argument]
            elif each.is_required:
                _init_second(self, **given)  # which tells of it
                return
            else:
                values[each.name] = each.made()
        self.__dict__.update(values)
        if hasattr(cls, "__attrs_post_init__"):
            self.__attrs_post_init__()

    def _init_second(self, *args, **given):
        cls = _owner(type(self))
        cls.__init__ = _compiled(cls)
        cls.__init__(self, *args, **given)

    def _compiled(cls):
        """__init__ of this class."""
        known = {"_NOTHING": _NOTHING}
        words, keywords, lines = ["self"], [], ["values = self.__dict__"]
        for each in fields(cls):
            name, default = each.argument, f"_default_{each.name}"
            known[default] = each.default
            word, value = name, name
            if type(each.default) is Factory:
                word = f"{name}=_NOTHING"
                value = f"{default}.factory() if {name} is _NOTHING else {name}"
            elif not each.is_required:
                word = f"{name}={default}"
            (keywords if each.kw_only else words).append(word)
            lines.append(f"values[{each.name!r}] = {value}")
        if hasattr(cls, "__attrs_post_init__"):
            lines.append("self.__attrs_post_init__()")
        words += ["*", *keywords] if keywords else []
        body = "\n    ".join(lines)
        made = {}
        exec(f"def __init__({', '.join(words)}):\n    {body}\n", known, made)
        made["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
        made["__init__"].__module__ = cls.__module__
        return made["__init__"]

    def _values(inst):
        return tuple([getattr(inst, each.name) for each in fields(type(inst))])

    def _eq(self, other):
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def _hash(self):
        return hash(_values(self))

    def _repr(self):
        shown = [f"{each.name}={getattr(self, each.name)!r}" for each in fields(type(self)) if each.repr]
        return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"

    def _refuse(self, *_):
        from attrs.exceptions import FrozenInstanceError

        raise FrozenInstanceError

    class _AttrsFields:
        """What attrs has of a class, made when attrs asks for it."""

        def __get__(self, _, cls):
            import attrs

            made = {}
            for each in fields(cls):
                default = each.default
                if each.is_required:
                    default = attrs.NOTHING
                elif type(default) is Factory:
                    default = attrs.Factory(default.factory)
                made[each.name] = attrs.field(
                    default=default,
                    repr=each.repr,
                    metadata=each.metadata,
                    type=each.type,
                    kw_only=each.kw_only,
                )
            found = attrs.fields(attrs.make_class(cls.__name__, made))
            cls.__attrs_attrs__ = found
            return found

    class _Signature:
        """How objects of a class are made, for whoever documents it."""

        def __get__(self, inst, cls):
            import inspect

            signature = inspect.signature(_compiled(_owner(cls)))
            return signature.replace(parameters=list(signature.parameters.values())[1:])


__all__ = ["Factory", "asdict", "evolve", "field", "fields", "frozen"]
