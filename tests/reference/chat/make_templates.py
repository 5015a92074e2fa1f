#!/usr/bin/env python3
"""What transformers makes of constructs that chat templates use: `templates.json`, a list of [template, text], null where it refuses.

usage: make_templates.py OUT.json
"""
import json, sys
from transformers.utils.chat_template_utils import render_jinja_template

MESSAGES = [
    {"role": "system", "content": "Sys <b>"},
    {"content": "hello & \"you\"", "role": "user", "name": "it's"},
    {"role": "assistant", "content": None, "reasoning": "hm", "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {"z": 1.5e-7, "a": [1, True, None, "\u00e9'\n"], "big": 1e16}}}]},
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]},
]
EACH = ["{{ m|tojson }}", "{{ m|tojson(indent=2) }}", "{{ m|tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}", "{{ m }}", "{{ m.content }}",
        "{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}", "{{ m.keys()|list }}", "{{ m.content is string }}{{ m.content is sequence }}{{ m is sequence }}{{ m is mapping }}",
        "[{{ m.reasoning_content }}|{{ m.thinking }}|{{ m.name }}|{{ m.tool_call_id }}]", "{{ m|attr('role') }}", "{{ m.role|string ~ m.content|string }}", "{{ m.content is none }}{{ 'content' in m }}",
        "{% if m.tool_calls %}{% for t in m.tool_calls %}{{ t.function.name }}{{ t.function.arguments|tojson }}{% endfor %}{% endif %}",
        "{% generation %}{{ m.role }}{% endgeneration %}"]
ONCE = ["a\r\nb\rc\n", "{{ 'x\r\ny' }}", "{{ 1e20 }} {{ 1e-7 }} {{ 0.1 + 0.2 }} {{ 1e16 }} {{ 123456789012345.0 }} {{ 0.0001 }} {{ -2.5e-5 }}", "{{ [1e20, 'it\\'s', \"a\\\"b'\", true, none, {'b': 1, 'a': (1,)}] }}",
        "{{ {'b': 1, 'a': {'d': 2, 'c': []}}|tojson }}", "{{ [[], {}, [1, [2]]]|tojson(indent=1) }}", "{{ '<&>\\'\u00e9\u2028\x7f\x01'|tojson }}", "{{ {1: 2, none: 4}|tojson }}",
        "{{ 'a b c'.rsplit(' ', 1) }}{{ ' a  b c '.rsplit(none, 1) }}{{ 'a  b'.rsplit() }}{{ 'a,b,c'.rsplit(',', maxsplit=1) }}", "{{ 'a-b-c'.partition('-') }}{{ 'a'.partition('-') }}{{ 'a-b-c'.rpartition('-') }}{{ 'a'.rpartition('-') }}",
        "{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}{{ 'abc'.removeprefix('x') }}", "{{ '3'.zfill(3) }}{{ '-3'.zfill(4) }}{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}|{{ 'ab'.center(5, '*') }}|{{ 'a'.center(4) }}|{{ 'a'|center(3) }}|",
        "{{ '%s' % 'x' }}{{ '%s-%d' % ('a', 3) }}{{ '%s' % [1] }}{{ '%05.2f|%x' % (3.14159, 255) }}{{ '%s' % messages[0].role|upper }}", "{{ 7 % 3 }}{{ -7 % 3 }}", "{{ 'a b, c'|wordcount }}",
        "{% set ns = namespace(a=1, l=[]) %}{% for i in range(5) %}{% set ns.l = ns.l + [i] %}{% set ns.a = ns.a * 2 if i else ns.a %}{% endfor %}{{ ns.l }}{{ ns.a }}",
        "{% set ns = namespace() %}{% set ns.t %}b{{ 1 }}{% endset %}{{ ns.t }}{% set ns.d = dict(a=1) %}{% set ns.d = dict(ns.d, b=2) %}{{ ns.d }}{% set ns.m = messages %}{{ ns.m|length }}",
        "{% set ns = namespace(l=['b', 'a']) %}{% set ns.l = ns.l|map('upper')|list %}{{ ns.l|join }}{% set ns.s = ns.l[0], 2 %}{{ ns.s }}", "{{ 'x' is sequence }}{{ {} is sequence }}{{ 3 is sequence }}",
        "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{% set j = joiner('|') %}{{ j() }}a{{ j() }}", "{{ strftime_now('%%')|length }}", "{{ debug is defined }}{{ strftime_now is defined }}",
        "{{ raise_exception('no') }}", "{{ nothing.at.all }}", "{{ 'a'.partition('') }}", "{% set ns = namespace() %}{{ ns.x is defined }}", "{% for m in messages %}{{ loop.index }}{{ m.role }}{% if loop.last %}.{% endif %}{% endfor %}"]
cases = []
for template in ["{% for m in messages %}" + body + "\n{% endfor %}" for body in EACH] + ONCE:
    try:
        text = render_jinja_template([MESSAGES], chat_template=template)[0][0]
    except Exception as error:
        print(f"refused: {template[:60]!r}: {type(error).__name__}: {error}")
        text = None
    cases.append([template, text])
with open(sys.argv[1], "w") as out:
    json.dump({"messages": MESSAGES, "cases": cases}, out, indent=1, ensure_ascii=False)
    out.write("\n")
