"""Names that other people could write into a file, each of which means something in some program."""

from hypothesis import strategies as st

#: Name -> what would act on it.
HOSTILE = {
    "=1+1": "a spreadsheet",
    "+cmd|' /C calc'!A0": "a spreadsheet",
    "-2+3": "a spreadsheet",
    "@SUM(A1:A9)": "a spreadsheet",
    "\t=1+1": "a spreadsheet",
    "\r=1+1": "a spreadsheet",
    "  =1+1": "a spreadsheet that removes spaces",
    "a;=1+1": "a spreadsheet of a country where ; separates cells",
    "＝1+1": "a spreadsheet in Japanese",
    '"=1+1"': "a spreadsheet",
    "<b>bold": "a browser, Markdown",
    "<script>document.title='ran'</script>": "a browser, Markdown",
    "<img src=x onerror=document.title='ran'>": "a browser, Markdown",
    '" onmouseover="document.title=\'ran\'" x="': "a browser",
    "' onfocus='document.title=1' autofocus='": "a browser",
    "</title><script>document.title='ran'</script>": "a browser",
    "<svg onload=document.title='ran'>": "a browser",
    "]]><script>document.title='ran'</script>": "a browser that reads XML",
    "&lt;b&gt; &amp; &#x41;": "a browser that decodes twice",
    "{{ 7 * 7 }} {% raw %}": "a template",
    "[x](javascript:alert(1))": "Markdown",
    "![x](http://example.invalid/x.png)": "Markdown",
    "<http://example.invalid/>": "Markdown",
    "http://example.invalid/ www.example.com a@example.com": "Markdown that finds links",
    "a|b": "a table",
    "a\\|b": "a table",
    "|": "a table",
    "`": "Markdown",
    "``a` `": "Markdown",
    "*a* _b_ __init__ ~~c~~": "Markdown",
    "a\n\n# b\n| c | d |": "Markdown, a log",
    "a\r\nerror: b": "a log",
    "\x1b]0;title\x07": "a terminal",
    "\x1b[2J\x1b[31m": "a terminal",
    "\x9b2J": "a terminal",
    "a\x00b": "C",
    "a\bb\x7f": "a terminal",
    "cup\u202egpj.exe": "a reader",
    "\u202a\u202b\u202c\u202d\u2066\u2067\u2068\u2069\u200e\u200f": "a reader",
    "\u200bcup\ufeff": "a reader",
    "a\u2028b\u2029c": "what splits lines",
    "\ufffe\uffff": "XML",
    "bad \udcff name": "what encodes text",
    "$\\frac{1}{0}$ $": "a formula of Matplotlib",
    "_hidden": "a legend of Matplotlib",
    "n" * 5000: "what makes room for it",
}
#: Names that are unusual but mean nothing anywhere.
ORDINARY = [
    "컵",
    "杯子",
    "tasse à café",
    "чашка",
    "کتاب\u200cخانه",
    "👩\u200d🍳",
    "☕\ufe0f",
    "next to",
    "T-shirt (red)",
]

#: Any text, with more of the characters that matter.
anything = st.text(
    st.characters() | st.sampled_from("=+-@'\";|`<>[]()*_~\\&:/.#$ \t\r\n\x00\x1b\u202e\u2066\udcff\ufffe"),
    max_size=30,
)
