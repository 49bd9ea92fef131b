"""Names that try to be more than names, for every form of the report."""

from __future__ import annotations

AT_A_PROMPT = {
    "markup": "[red]x[/red]",
    "closing tag": "[/red]",
    "link": "[link=file:///etc/passwd]x[/link]",
    "escaped markup": r"\[red]",
    "ends in a backslash": "x\\",
    "clear the screen": "\x1b[2J\x1b[H",
    "window title": "\x1b]0;title\x07",
    "one-byte escape": "\x9b2J",
    "newline": "a\nerror: b",
    "carriage return": "a\rb\x08\x7f",
    "right to left": "\u202eabc\u2066",
    "no width": "a\u200b\ufeffb",
    "surrogate": "\udcff",
    "long": "x" * 5000,
}
FORBIDDEN = set("\x1b\x9b\x07\x08\r\x7f\u202e\u2066\u200b\ufeff\udcff")
HOSTILE = {
    **AT_A_PROMPT,
    "script": "<script>alert(1)</script>",
    "attribute": "\" onmouseover='alert(1)' x=\"",
    "event": "<img src=http://example.com/a onerror=alert(1)>",
    "end of the page": "</style></svg></body></html>",
    "template": "{{ 7 * 7 }}{% raw %}",
    "CDATA": "<![CDATA[x]]>",
    "entity": "&lt;b&gt;&#64;&amp;",
    "pipe": "a|b||c",
    "backticks": "`a``b```",
    "only backticks": "``",
    "image": "![x](http://example.com/a.png)",
    "link in brackets": "[x](javascript:alert(1))",
    "bare address": "see http://example.com/a and www.example.com",
    "mention": "@team",
    "issue": "owner/repo#1",
    "heading": "# a",
    "list": "- a",
    "numbered": "1. a",
    "rule": "---",
    "emphasis": "**a** _b_ ~~c~~ $x$",
    "formula": r"a$\frac{1}$b",
    "blanks": "  ",
    "empty": "",
    "ten thousand letters": "ab" * 5000,
    "not in XML": "\x00\x0b\ufffe\uffff",
}
EXAMPLES = ("http://example.com", "www.example.com", "javascript:")
