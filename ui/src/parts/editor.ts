import { acceptCompletion, autocompletion, completionKeymap, type CompletionContext } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap, indentLess, indentMore } from '@codemirror/commands'
import { yaml } from '@codemirror/lang-yaml'
import { HighlightStyle, indentUnit, syntaxHighlighting } from '@codemirror/language'
import { lintGutter, setDiagnostics, type Diagnostic } from '@codemirror/lint'
import { EditorState } from '@codemirror/state'
import { EditorView, highlightActiveLine, keymap, lineNumbers } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { complete, type Schema } from '../lib/complete'
import type { PolicyCheck } from '../api/client'

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--accent)' },
  { tag: [tags.string, tags.content], color: 'var(--ink)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--busy)' },
  { tag: tags.comment, color: 'var(--faint)', fontStyle: 'italic' },
  { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: 'var(--soft)' },
])

const theme = EditorView.theme({
  '&': { color: 'var(--ink)', backgroundColor: 'var(--ground)', fontSize: '12.5px', height: '100%' },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: "'JetBrains Mono', ui-monospace, monospace", lineHeight: '1.6', overflow: 'auto' },
  '.cm-content': { padding: '10px 0', caretColor: 'var(--ink)' },
  '.cm-gutters': { backgroundColor: 'var(--panel)', color: 'var(--faint)', border: 'none', borderRight: '1px solid var(--line)' },
  '.cm-activeLine, .cm-activeLineGutter': { backgroundColor: 'color-mix(in srgb, var(--accent) 7%, transparent)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '&.cm-focused .cm-selectionBackground, .cm-selectionBackground': { background: 'color-mix(in srgb, var(--accent) 25%, transparent)' },
  '.cm-tooltip': { backgroundColor: 'var(--raised)', color: 'var(--ink)', border: '1px solid var(--edge)', borderRadius: '6px', overflow: 'hidden' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--accent-wash)', color: 'var(--ink)' },
  '.cm-completionDetail': { color: 'var(--faint)', fontStyle: 'normal', marginLeft: '12px' },
  '.cm-completionInfo': { maxWidth: '320px', padding: '6px 8px' },
  '.cm-diagnostic': { borderLeft: '3px solid var(--bad)', padding: '4px 8px', whiteSpace: 'pre-wrap' },
  // Not the pictures that come with it: they are data: addresses, which the page's policy forbids.
  '.cm-lintRange-error': { backgroundImage: 'none', textDecoration: 'underline wavy var(--bad)', textUnderlineOffset: '3px' },
  '.cm-lint-marker-error': { content: '"●"', color: 'var(--bad)' },
  '.cm-diagnosticText': { fontFamily: "'Inter', system-ui, sans-serif" },
})

export interface Editor {
  /** The text, replaced as a whole. */
  set(text: string): void
  /** Shows the faults in their places. */
  fault(check: PolicyCheck | undefined): void
  /** What is completed from. */
  know(schema: Schema, metrics: string[]): void
  /** Goes to a line. */
  go(line: number): void
  close(): void
}

/** Opens an editor in an element's shadow, where its styles are sheets of the page and not inline. */
export function openEditor(host: HTMLElement, text: string, changed: (text: string) => void): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' })
  let schema: Schema = {}
  let metrics: string[] = []
  const view = new EditorView({
    root,
    parent: root as unknown as HTMLElement,
    state: EditorState.create({
      doc: text,
      extensions: [
        lineNumbers(),
        lintGutter(),
        highlightActiveLine(),
        history(),
        yaml(),
        indentUnit.of('  '),
        syntaxHighlighting(colours),
        autocompletion({
          override: [
            (c: CompletionContext) => {
              const found = complete(c.state.doc.toString(), c.pos, schema, metrics)
              if (!found || found.options.length === 0 || (!c.explicit && found.from === c.pos)) return null
              return { from: found.from, options: found.options, validFor: /^[\w.-]*$/ }
            },
          ],
        }),
        // Tab completes and indents; Escape first gives it back to the page.
        keymap.of([
          { key: 'Tab', run: (v) => acceptCompletion(v) || indentMore(v), shift: indentLess },
          ...completionKeymap,
          ...historyKeymap,
          ...defaultKeymap,
        ]),
        EditorView.contentAttributes.of({ 'aria-label': 'Policy, in YAML', spellcheck: 'false' }),
        EditorView.updateListener.of((u) => u.docChanged && changed(u.state.doc.toString())),
        theme,
      ],
    }),
  })
  return {
    set(text) {
      if (text !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } })
    },
    fault(check) {
      const doc = view.state.doc
      const faults: Diagnostic[] = (check?.errors ?? []).map((e) => {
        const line = doc.line(Math.min(doc.lines, Math.max(1, e.line)))
        const from = Math.min(line.to, line.from + Math.max(0, e.column - 1))
        const word = /^[\w."-]+|^\S/.exec(doc.sliceString(from, line.to))?.[0].length ?? 0
        const message = e.message + (e.suggestion ? `; did you mean “${e.suggestion}”?` : '')
        return { from, to: Math.min(line.to, from + Math.max(1, word)), severity: 'error', message }
      })
      view.dispatch(setDiagnostics(view.state, faults))
    },
    know(s, m) {
      schema = s
      metrics = m
    },
    go(line) {
      const at = view.state.doc.line(Math.min(view.state.doc.lines, Math.max(1, line)))
      view.dispatch({ selection: { anchor: at.from }, scrollIntoView: true })
      view.focus()
    },
    close: () => view.destroy(),
  }
}
