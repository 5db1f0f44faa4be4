"""Templates of --format, as Docker documents them and Go's text/template has them."""

from __future__ import annotations

import pytest

from pycontainer.cli.formatting import Template, TemplateError

BOX = {
    "Id": "0123456789abcdef",
    "Args": ["-c", "sleep 1"],
    "State": {"Status": "running", "Running": True, "Pid": 4711, "Health": None},
    "Config": {"Image": "redis:7", "Labels": {"com.example.b": "2", "a": "1"}, "Env": []},
    "Mounts": [{"Type": "volume", "RW": True}],
    "Ports": {"8787/tcp": [{"HostPort": "32768"}], "53/udp": None},
    "NetworkSettings": {
        "Ports": {"8787/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "53/udp": None},
        "Networks": {"back": {"IPAddress": "10.2.0.2"}, "app": {"IPAddress": "10.1.0.2"}},
    },
}


@pytest.mark.parametrize(
    ("expected", "template"),
    [
        # Examples of docs.docker.com/engine/cli/formatting and of `docker inspect`
        ("10.1.0.210.2.0.2", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"),
        ("10.1.0.2\n10.2.0.2\n", "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}"),
        ("redis:7", "{{.Config.Image}}"),
        ("32768", '{{(index (index .NetworkSettings.Ports "8787/tcp") 0).HostPort}}'),
        ("-c , sleep 1", '{{join .Args " , "}}'),
        ('[{"Type":"volume","RW":true}]', "{{json .Mounts}}"),
        ("[redis 7]", '{{split .Config.Image ":"}}'),
        ("Redis:7", "{{title .Config.Image}}"),
        ("REDIS:7 redis:7", "{{upper .Config.Image}} {{lower .Config.Image}}"),
        ("  redis:7   |", "{{pad .Config.Image 2 3}}|"),
        ("redi", "{{truncate .Config.Image 4}}"),
        ("1", '{{index .Config.Labels "a"}}'),
        ("2", '{{index .Config.Labels "com.example.b"}}'),
        ("", '{{index .Config.Labels "absent"}}'),
        (
            "8787/tcp=32768",
            "{{range $p, $c := .Ports}}{{with $c}}{{$p}}={{(index . 0).HostPort}}{{end}}{{end}}",
        ),
        # Values as Go prints them
        ("true 4711 <no value>", "{{.State.Running}} {{.State.Pid}} {{.State.Health}}"),
        ("map[a:1 com.example.b:2] [-c sleep 1]", "{{.Config.Labels}} {{.Args}}"),
        ("<no value>", "{{.Config.Labels.missing}}"),
        # Control
        ("up", "{{if .State.Running}}up{{else}}down{{end}}"),
        ("b", '{{if eq .State.Status "exited"}}a{{else if eq .State.Status "running"}}b{{else}}c{{end}}'),
        ("none", "{{range .Config.Env}}{{.}}{{else}}none{{end}}"),
        ("0=-c 1=sleep 1 ", "{{range $i, $a := .Args}}{{$i}}={{$a}} {{end}}"),
        ("redis:7 0123456789abcdef", "{{with .Config}}{{.Image}} {{$.Id}}{{end}}"),
        ("nothing", "{{with .State.Health}}{{.Status}}{{else}}nothing{{end}}"),
        ("-c", "{{range .Args}}{{.}}{{break}}{{end}}"),
        ("sleep 1", '{{range .Args}}{{if eq . "-c"}}{{continue}}{{end}}{{.}}{{end}}'),
        ("4711!", '{{$pid := .State.Pid}}{{$pid}}{{"!"}}'),
        ("ab", "a {{- /* said */ -}} b"),
        ("x 1y", 'x {{ index .Config.Labels "a" -}}   y'),
        ("true", '{{and .State.Running (eq .State.Pid 4711) (ne .State.Status "paused")}}'),
        ("false", "{{or false (not .State.Running)}}"),
        ("ok", '{{if and .State.Health (eq .State.Health.Status "x")}}bad{{else}}ok{{end}}'),
        ("2 0123", "{{len .Args}} {{slice .Id 0 4}}"),
        ("0123", '{{.Id | printf "%.4s"}}'),
        ("007|running   |50%", '{{printf "%03d|%-10s|%d%%" 7 .State.Status 50}}'),
        ('"running"', "{{.State.Status | json}}"),
        ("012", "{{range 3}}{{.}}{{end}}"),
        ("a}}b", '{{"a}}b"}}'),
        ("raw\\", "{{`raw\\`}}"),
    ],
)
def test_a_template_is_rendered_as_docker_renders_it(expected: str, template: str) -> None:
    assert Template(template).render(BOX) == expected


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{.Id", "cannot read"),
        ("{{range .Args}}", "no {{end}}"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{nosuch .Id}}", '"nosuch" not defined'),
        ("{{(.Id}}", "unclosed left paren"),
        ("{{.Id .Id}}", "can't give argument to non-function"),
        ("{{$x}}", 'undefined variable "$x"'),
        ("{{.Nosuch}}", 'no entry for key "Nosuch"'),
        ("{{.State.Health.Status}}", "nil has no field Status"),
        ("{{.Id.Name}}", "can't evaluate field Name"),
        ("{{index .Args 5}}", "index out of range"),
        ("{{range .Id}}{{end}}", "range can't iterate"),
        ("{{len .State.Pid}}", "error calling len"),
        ("{{break}}", "outside of"),
        ("{{if true}}" * 200 + "{{end}}" * 200, "deep"),
        ("{{}}", "missing value"),
        ('{{template "x"}}', "unexpected {{template}}"),
    ],
)
def test_what_is_wrong_with_a_template_is_said(template: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=r"^template: ") as caught:
        Template(template).render(BOX)
    assert problem in str(caught.value)
