"""The style sheet of the HTML reports: follows the reader's light or dark setting, and prints well."""

STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1c2530; --soft: #5b6775; --rule: #dfe4ea;
  --tint: #f5f7f9; --good: #1a7f45; --bad: #c02626; --accent: #2f7bd9; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161b; --ink: #e4e9ee; --soft: #98a4b1;
  --rule: #2b333c; --tint: #1a2027; --good: #4cc98a; --bad: #ff7b7b; --accent: #6aa9f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 48px 24px 80px; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 1rem; letter-spacing: -0.015em; }
h2 { font-size: 1.3rem; margin: 3rem 0 0.75rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
p { max-width: 46em; margin: 0 0 1rem; }
.scroll { overflow-x: auto; margin: 1.25rem 0 0.5rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.94rem; }
caption { text-align: left; font-weight: 600; padding: 0 0 0.5rem; }
th, td { padding: 0.4rem 0.9rem; text-align: left; border-bottom: 1px solid var(--rule);
  white-space: nowrap; }
th { font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--rule); }
td.number, th.number { text-align: right; }
tbody tr:hover { background: var(--tint); }
td.best { font-weight: 700; color: var(--accent); }
.footnote { font-size: 0.85rem; color: var(--soft); margin: 0 0 0.25rem; }
.row { display: flex; flex-wrap: wrap; gap: 16px; margin: 1.25rem 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(280px, 1fr)); gap: 16px; margin: 1.25rem 0; }
figure { margin: 0; flex: 1 1 280px; min-width: 0; }
figure img, figure svg { display: block; max-width: 100%; border-radius: 6px; }
figure img { width: 100%; height: auto; }
figcaption { font-size: 0.88rem; color: var(--soft); margin-top: 0.4rem; overflow-wrap: anywhere; }
pre { background: var(--tint); border: 1px solid var(--rule); border-radius: 6px; padding: 0.9rem 1.1rem;
  overflow-x: auto; font: 0.85rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
""".strip()
