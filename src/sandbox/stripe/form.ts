// Form-encoded nested parameters (`items[0][price]=…`, `expand[]=…`) to a tree of strings.

export type Form = string | { [key: string]: Form }
export type FormTree = { [key: string]: Form }

export function parseForm(text: string): FormTree {
  const root: FormTree = emptyTree()
  if (text === '') return root
  for (const [name, value] of new URLSearchParams(text)) put(root, keysOf(name), value)
  return root
}

function emptyTree(): FormTree {
  return Object.create(null) as FormTree
}

function keysOf(name: string): string[] {
  const open = name.indexOf('[')
  if (open <= 0) return [name]
  return [name.slice(0, open), ...Array.from(name.slice(open).matchAll(/\[([^\]]*)\]/g), (m) => m[1] ?? '')]
}

function put(root: FormTree, keys: string[], value: string): void {
  let node = root
  keys.forEach((raw, index) => {
    const key = raw === '' ? String(Object.keys(node).length) : raw
    if (index === keys.length - 1) {
      node[key] = value
      return
    }
    const next = node[key]
    if (next !== undefined && typeof next !== 'string') node = next
    else node = node[key] = emptyTree()
  })
}
